"""Lesson 08: mistakes keep every name and shape, and figures say what they show."""

import pytest
import torch

from moe_teach.chapters.ch08_real_models import figures, mistakes
from moe_teach.plots.style import MAX_BYTES, to_png
from moe_teach.train.shipped import load_shipped

ROWS = [("Mixtral", "gates sum to one", 1e-7, 0.4), ("Switch", "top-1", 0.0, 1.2)]
LOST = {
    "another order": {"code": 0.0, "english": -1e-7},
    "a mistake": {"code": 0.1, "english": 0.02},
}


@pytest.fixture(scope="module")
def shipped():
    model, tokenizer, _ = load_shipped()
    return model, torch.tensor([tokenizer.encode("for name in names:\n    print(name)\n")])


@pytest.mark.parametrize("mistake", mistakes.ALL, ids=mistakes.called)
@torch.no_grad()
def test_a_mistake_keeps_names_and_shapes_and_changes_the_answers(shipped, mistake):
    model, text = shipped
    wrong = mistakes.made(model, mistake)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    assert {n: t.shape for n, t in wrong.state_dict().items()} == {
        n: t.shape for n, t in before.items()
    }
    gap = (wrong(text).logits - model(text).logits).abs().max()
    assert (gap < 1e-4) == (mistake is mistakes.topk_before_softmax)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


@torch.no_grad()
def test_rows_in_pairs_are_what_another_rotation_would_want(shipped):
    """Rotated as neighbours, the reordered rows give the scores that the halves gave."""
    model, _ = shipped
    attention = model.blocks[0].attention
    d = attention.config.d_head
    x = torch.randn(6, model.config.d_model)
    position = torch.arange(6)[:, None] * 10_000.0 ** (-torch.arange(d // 2) / (d // 2))
    turn = torch.polar(torch.ones_like(position), position)[:, None]
    halves, pairs = [], []
    for proj in (attention.q_proj, attention.k_proj):
        laid = (x @ proj.weight.T).view(6, -1, 2, d // 2)
        halves.append(torch.complex(laid[:, :, 0], laid[:, :, 1]) * turn)
        reordered = mistakes._in_pairs(proj.weight, d)
        neighbours = (x @ reordered.T).view(6, -1, d // 2, 2)
        pairs.append(torch.view_as_complex(neighbours.contiguous()) * turn)

    for one, other in zip(halves, pairs, strict=True):
        torch.testing.assert_close(one, other)


def test_one_of_the_three_models_is_as_it_was_saved(shipped):
    model, text = shipped
    three = mistakes.three_to_judge(model)
    with torch.no_grad():
        same = [n for n, one in three.items() if torch.equal(one(text).logits, model(text).logits)]

    assert same == ["B"]


def test_the_signature_has_a_mark_for_each_error_and_the_control_beside_them():
    drawing = figures.sentences(ROWS, ("Mixtral", "top-k first", 2e-7))
    (axes,) = drawing.axes

    marks = {}
    for line in axes.lines:
        if line.get_marker() != "None":
            marks.setdefault(line.get_marker(), []).append(float(line.get_xdata()[0]))
    assert marks == {"o": [1e-7, figures.FLOOR], "D": [0.4, 1.2], "s": [2e-7]}
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["Mixtral: gates sum to one", "Switch: top-1", "Mixtral: top-k first"]
    assert axes.get_xscale() == "log" and "4e-01" in drawing.get_gid()


def test_nats_are_drawn_by_domain_and_the_control_is_named():
    drawing = figures.nats(LOST, knows=4.5, control="another order")
    (axes,) = drawing.axes

    ticks = [label.get_text() for label in axes.get_yticklabels()]
    assert ticks == ["another order (no mistake)", "a mistake"]
    drawn = [list(line.get_xdata()) for line in axes.lines if line.get_marker() != "None"]
    assert drawn == [[5e-4, 0.1], [5e-4, 0.02]]
    assert "a mistake 0.060" in drawing.get_gid()


def test_layouts_draw_every_vector_in_its_place():
    drawing = figures.layouts({"two": ["gate 0", "|", "up 0"], "in turn": ["gate 0", "up 0"]})
    (axes,) = drawing.axes

    assert [patch.get_x() for patch in axes.patches] == [0.0, 1.5, 0.0, 1.0]
    assert [text.get_text() for text in axes.texts] == ["g0", "u0", "g0", "u0"]
    assert [bool(patch.get_hatch()) for patch in axes.patches] == [False, True, False, True]


@pytest.mark.parametrize(
    "drawing",
    [figures.sentences(ROWS), figures.nats(LOST, 4.5), figures.layouts({"a": ["gate 0"]})],
    ids=["sentences", "nats", "layouts"],
)
def test_figures_fit_their_budget_and_say_what_they_show(drawing):
    assert len(to_png(drawing)) <= MAX_BYTES
    assert len(drawing.get_gid()) > 40
