"""A stranger walks the spine of the course from 04 to 10, and everything in use is theirs."""

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from moe_teach.analysis.kernel_watch import watch
from moe_teach.analysis.laws import obeys
from moe_teach.analysis.own_layer import told_about, written_by
from moe_teach.chapters.ch06_load_balancing.kinds_model import (
    LAYER_SIZES,
    KindsBatches,
    KindsModel,
)
from moe_teach.chapters.ch07_modern_moe.deepseek_parts import told_about_rule
from moe_teach.chapters.ch08_real_models.block_parts import answered, made
from moe_teach.config import AttentionConfig
from moe_teach.course import check, mine, registry
from moe_teach.course.learner.mine import carrying, parts, proving, verb, waiting
from moe_teach.data.batches import Batch
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.model import ModelOutput

needs_triton = pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="needs Triton")
STRANGER = runpy.run_path(str(Path(__file__).with_name("spine_answers.py")))
EACH = dict(key.split() for key in STRANGER["ANSWERS"])


def prove_lightly(exercise, text):
    """Load the module as it will be loaded; its check has just passed, and a proof repeats it."""
    (file := parts.folder().parent / f"{exercise.name}.py").write_text(text, encoding="utf-8")
    return "" if parts.load(exercise, file) is not None else "it is nothing"


@pytest.fixture
def walk(monkeypatch, notebook):
    """Answer exercises one after the other, each in a notebook of its own."""
    monkeypatch.setenv("MOE_TEACH_MINE", "background")
    monkeypatch.setattr(waiting, "prove_in_background", lambda _: None)
    monkeypatch.setattr(proving, "prove", prove_lightly)

    def answer(*ids):
        for item in ids:
            name, exercise = EACH[item], registry.find_exercise(item)
            head = STRANGER["KERNEL_IMPORTS" if item[:2] in ("9.", "10") else "IMPORTS"]
            session = notebook(head, STRANGER["ANSWERS"][f"{item} {name}"])
            monkeypatch.setattr(carrying, "current_notebook", lambda session=session: session)
            score = check(item, session.namespace[name])
            assert float(score) == exercise.points, repr(score)
            proving.prove_waiting(exercise)
            assert written_by(mine(item)) == "you", repr(score)

    return answer


class Model(nn.Module):
    """A language model on the stranger's block and layer."""

    def __init__(self):
        super().__init__()
        heads = AttentionConfig(n_heads=2, n_kv_heads=2, d_head=4)
        self.embedding, self.out = nn.Embedding(11, 8), nn.Linear(8, 11)
        self.block = mine("5.1")(8, Attention(8, heads), mine("4.7")(8, 4, 2, 5))

    def forward(self, token_ids):
        x, routing = self.block(self.embedding(token_ids))
        return ModelOutput(self.out(x), (routing,))


class Repeating:
    """One text, over and over."""

    def at(self, step):
        text = (torch.arange(36) * 3 % 11).view(4, 9)
        return Batch(text[:, :-1], text[:, 1:], torch.zeros(4, dtype=torch.long))


def test_a_strangers_parts_carry_a_layer_a_model_a_cure_and_a_rule(walk):
    walk("3.1", "4.1", "4.2", "4.3", "4.7", "5.1", "5.6", "6.1", "6.3", "6.7", "7.5", "7.7")
    layer = mine("4.7")(8, 4, 2, 5)
    for name in ("route", "expert", "sort", "mix"):
        assert written_by(getattr(layer, name)) == "you"
    assert obeys(layer, d_model=8, **told_about(layer))["kept once"].outcome == "holds"

    heads = AttentionConfig(n_heads=2, n_kv_heads=2, d_head=4)
    y, routing = Block(8, Attention(8, heads), layer)(torch.randn(2, 3, 8))  # the library's block
    assert y.shape == (2, 3, 8) and routing.top_k == 2

    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    losses = mine("5.6")(model, optimizer, Repeating(), 20, lambda _: 0.02, accumulate=2)
    assert losses[-1] < 0.7 * losses[0]

    toy = KindsModel(mine("4.7")(*LAYER_SIZES))
    adam = torch.optim.Adam(toy.parameters())
    table = mine("6.7")(toy, adam, KindsBatches(0), 3, 0.005, "bias", 0.01)
    assert table.sum(dim=1).tolist() == [128, 128, 128]

    rule = mine("7.7")(mine("4.7")(16, 8, 2, 4), n_groups=4, top_groups=2)
    report = obeys(rule, d_model=16, **told_about_rule(rule, told_about(rule.layer)))
    assert report["bias stays out"].outcome == report["kept once"].outcome == "holds"
    assert not verb._SAID, "somewhere the course's own part was used"


def test_a_strangers_layer_becomes_a_published_one(walk):
    walk("3.1", "4.1", "4.2", "4.3", "4.7", "8.1", "8.5")
    case = made("qwen3_moe", 0, {"norm_topk_prob": True})
    given = dict(case.config), list(case.file.names), case.file.read, case.layer

    layer, x = mine("8.5")(*given), case.tokens()

    torch.testing.assert_close(layer(x)[0], answered(case, x).float(), atol=1e-5, rtol=1e-4)
    assert type(layer).__module__.startswith("mine.")
    assert not verb._SAID, "somewhere the course's own part was used"


@needs_triton
def test_a_strangers_kernels_carry_the_strangers_layer(walk):
    parts = ("3.1", "4.1", "4.2", "4.3", "4.7", "9.2", "9.3", "10.1", "10.2", "10.3")
    walk(*parts, "10.4", "10.6", "10.7")
    layer, x = mine("4.7")(8, 4, 2, 6), torch.randn(7, 8)
    expected, routing = layer(x)
    matrices = (layer.w_gate.detach(), layer.w_up.detach(), layer.w_down.detach())
    with watch(adopt=True) as seen:
        y = mine("10.6")(x, routing.gates.detach(), routing.expert_ids, *matrices)

    torch.testing.assert_close(y, expected.detach())
    assert not seen.races()

    ends, own = torch.tensor([2, 2, 5], dtype=torch.int32), torch.randn(3, 4, 8, requires_grad=True)
    token_idx = torch.tensor([6, 0, 3, 3, 1], dtype=torch.int32)
    rows = mine("10.7")(x.requires_grad_(), own, token_idx, ends)
    by_hand = torch.einsum("nd,nfd->nf", x[token_idx.long()], own[torch.tensor([0, 0, 2, 2, 2])])
    torch.testing.assert_close(rows, by_hand)
    way_back = [torch.autograd.grad(out.square().sum(), (x, own)) for out in (rows, by_hand)]
    torch.testing.assert_close(*way_back)
    assert not verb._SAID, "somewhere the course's own part was used"
