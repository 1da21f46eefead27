"""A layer written from scratch, as a reader does: laws, trainer and widgets take it as it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.analysis.laws import LAWS, obeys
from moe_teach.config import AttentionConfig, ModelConfig
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.generate import generate
from moe_teach.train.loop import train
from moe_teach.types import Routing
from moe_teach.widgets.dispatch_explorer import DispatchExplorer

D_MODEL, N_EXPERTS, VOCABULARY = 16, 4, 29


def decide(x: Tensor, scores: Tensor, top_k: int) -> Routing:
    logits = x @ scores.T
    probs = logits.softmax(dim=-1)
    best, ids = probs.topk(top_k, dim=-1)
    return Routing(logits, probs, best / best.sum(dim=-1, keepdim=True), ids)


def one(rows: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    return F.relu(rows @ w_in) @ w_out


class Mine(nn.Module):
    """Inherits nothing but nn.Module, and is composed of plain functions."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.randn(N_EXPERTS, D_MODEL) / 2)
        self.w_in = nn.Parameter(torch.randn(N_EXPERTS, D_MODEL, 24) / 4)
        self.w_out = nn.Parameter(torch.randn(N_EXPERTS, 24, D_MODEL) / 5)

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, Routing]:
        tokens = x.reshape(-1, D_MODEL)
        routing = decide(tokens, self.scores, 2)
        rows, dispatched = dispatch(tokens, routing)
        slices = rows.split(dispatched.tokens_per_expert.tolist())
        answers = map(one, slices, self.w_in, self.w_out)
        return combine(torch.cat(list(answers)), routing.gates, dispatched).view_as(x), routing


class Silent(Mine):
    """The same layer, which keeps to itself who was chosen."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


class Dense(Mine):
    """A layer in which nobody is chosen says so by None."""

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> tuple[Tensor, None]:
        return one(x, self.w_in[0], self.w_out[0]), None


class Centred(Silent):
    """The classic mistake, in a layer that tells nothing."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y - y.mean(dim=0)


FROM_OUTSIDE = {law.name for law in LAWS if not law.needs}
WITHOUT_RECORD = {"shapes", "repeatable", "batch invariance", "prefix causality"}


def outcomes(report, outcome: str) -> set[str]:
    return {result.name for result in report if result.outcome == outcome}


def test_it_is_held_against_every_law_that_looks_from_outside() -> None:
    report = obeys(Mine(), d_model=D_MODEL)
    assert report, str(report)
    assert outcomes(report, "holds") == FROM_OUTSIDE | {"gates sum"}


def test_told_by_name_what_is_inside_it_is_held_against_those_laws_too() -> None:
    mine = Mine()
    report = obeys(
        mine,
        d_model=D_MODEL,
        expert=lambda e, rows: one(rows, mine.w_in[e], mine.w_out[e]),
        expert_rows=(mine.scores, mine.w_in, mine.w_out),
    )
    assert report, str(report)
    assert outcomes(report, "holds") >= {"kept once", "experts have no names"}


@pytest.mark.parametrize("kind", [Silent, Dense])
def test_a_layer_that_returns_no_record_is_held_against_the_laws_that_need_none(kind) -> None:
    report = obeys(kind(), d_model=D_MODEL)
    assert report, str(report)
    assert outcomes(report, "holds") == WITHOUT_RECORD
    assert "let the layer return (y, Routing)" in report["distinct experts"].seen


def test_without_a_record_a_mistake_is_still_found() -> None:
    report = obeys(Centred(), d_model=D_MODEL)
    assert outcomes(report, "broken") == {"batch invariance", "prefix causality"}
    assert "a mean, a norm or a sort across tokens" in report["batch invariance"].seen


class Counting:
    """Sequences that count upwards."""

    batch_size, seq_len, domains = 4, 7, ("numbers",)

    def at(self, step: int) -> Batch:
        start = torch.arange(4)[:, None] + step
        text = (start + torch.arange(8)) % VOCABULARY
        return Batch(text[:, :-1].clone(), text[:, 1:].clone(), torch.zeros(4, dtype=torch.int64))


def a_model() -> Model:
    attention = AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8)
    sizes = {"n_layers": 2, "d_model": D_MODEL, "vocab_size": VOCABULARY, "d_ff_dense": 12}
    model = Model(ModelConfig(attention=attention, **sizes))
    for block in model.blocks:
        block.ffn = Mine()
    return model


def test_the_trainer_and_the_model_take_it_in_every_block() -> None:
    model = a_model()
    before = model.blocks[0].ffn.scores.detach().clone()
    config = TrainConfig(steps=3, warmup=1, batch_size=4, seq_len=7, load_balance_coef=0.01)
    history = train(model, Counting(), config)
    assert len(history) == 3 and not torch.equal(model.blocks[0].ffn.scores, before)
    found = evaluate(model, [Counting().at(step) for step in range(2)])
    assert [len(load) for load in found.loads] == [N_EXPERTS] * 2
    assert len(generate(model, [1, 2, 3], 4)) == 4


def test_a_widget_shows_what_it_decided() -> None:
    _, routing = Mine()(torch.randn(6, D_MODEL))
    shown = DispatchExplorer.of(routing).routing()
    assert torch.equal(shown.expert_ids, routing.expert_ids)
