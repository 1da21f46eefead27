"""What the exercises do with a layer of the reader's own."""

import pytest
import torch

from moe_teach.analysis.laws import obeys
from moe_teach.analysis.own_layer import told_about, written_by
from moe_teach.chapters.ch04_dispatch.layer_figure import your_layer
from moe_teach.chapters.ch04_dispatch.my_layer import kinds_by_expert, learn_kinds
from moe_teach.chapters.ch04_dispatch.my_moe_answers import WithALoopOverTheExperts as Layer
from moe_teach.plots.style import MAX_BYTES, to_png


def test_the_laws_are_told_all_they_need_but_a_bias() -> None:
    layer = Layer(8, 4, 2, 3)
    report = obeys(layer, d_model=8, **told_about(layer))

    assert report
    untold = [result.name for result in report if result.outcome == "not tested"]
    assert untold == ["bias shift", "bias stays out"]


def test_gates_that_need_not_sum_to_one_are_not_asked_to() -> None:
    assert told_about(Layer(8, 4, 2, 3, False))["gate_sum"] is None


def test_learning_the_kinds_changes_the_layer_and_its_loss() -> None:
    torch.manual_seed(0)
    layer = Layer(8, 4, 1, 2, False)
    losses = learn_kinds(layer, 0, n_steps=30, lr=0.03)

    assert losses[-1] < 0.8 * losses[0]
    assert kinds_by_expert(layer, 0).sum(dim=1).tolist() == pytest.approx([1, 1, 1, 1])


def test_a_part_is_the_readers_by_the_package_it_comes_from() -> None:
    def part() -> None: ...

    assert written_by(part) == "the course"
    part.__module__ = "mine.e4_3_combine"
    assert written_by(part) == "you"


@pytest.fixture
def picture():
    """The figure of a right layer and of one that forgets the gates."""

    def ungated(y, gates, slot):
        return Layer(8, 4, 2, 3).mix(y, torch.ones_like(gates), slot)

    layers = {"yours": Layer(8, 4, 2, 3), "ungated": Layer(8, 4, 2, 3, mix=ungated)}
    reports = {name: obeys(layer, d_model=8, **told_about(layer)) for name, layer in layers.items()}
    losses = {"yours": [[1.1, 0.25], [1.1, 0.35]], "ungated": [[1.1, 0.5], [1.1, 0.5]]}
    authors = {"route": "you", "sort": "the course"}
    return your_layer(authors, reports, losses, torch.full((4, 4), 0.25), torch.eye(4))


def _words(drawing) -> list[str]:
    return [text.get_text() for axes in drawing.axes for text in axes.texts]


def test_the_figure_writes_every_share_and_every_author(picture) -> None:
    words = _words(picture)

    assert words.count("25%") == 16 and words.count("100%") == 4
    assert "by you" in words and "by the course" in words


def test_the_figure_marks_every_law_that_a_layer_breaks(picture) -> None:
    words = _words(picture)

    assert words.count("✗") >= 2  # the gates in the sum, and the router that no longer learns
    assert words.count("✓") + words.count("✗") + words.count("–") == 2 * 13
    assert "Yours breaks no law and learns to a loss of 0.30" in picture.get_gid()
    assert "kept once" in picture.get_gid()


def test_the_figure_fits_the_budget_of_a_figure(picture) -> None:
    assert len(to_png(picture)) <= MAX_BYTES
