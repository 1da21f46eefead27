"""The laws accept the library's layers and catch the classic mistakes, each by its name."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from moe_teach.analysis.laws import LAWS, obeys
from moe_teach.analysis.subject import Subject
from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import MoE
from moe_teach.ops.losses import load_balance_loss
from moe_teach.types import Routing

D_MODEL = 16
NAMES = {law.name for law in LAWS}
WAYS = {
    "softmax": RouterConfig(n_experts=6, top_k=2),
    "topk-first": RouterConfig(n_experts=6, top_k=2, topk_first=True),
    "as-it-comes": RouterConfig(n_experts=6, top_k=2, normalize_gates=False),
    "sigmoid": RouterConfig(n_experts=6, top_k=3, score_fn="sigmoid", gate_scale=2.5),
    "noisy": RouterConfig(n_experts=6, top_k=2, noisy=True, jitter=0.1),
    "groups": RouterConfig(n_experts=8, top_k=3, score_fn="sigmoid", n_groups=4, top_groups=2),
    "all-chosen": RouterConfig(n_experts=4, top_k=4),
    "top-1": RouterConfig(n_experts=6, top_k=1, normalize_gates=False),
}


def a_moe(router: RouterConfig, **options) -> MoE:
    moe = MoE.build(D_MODEL, MoEConfig(router=router, d_ff=12, n_shared_experts=1, **options))
    nn.init.normal_(moe.router.proj.weight, std=0.5)
    return moe


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("config", WAYS.values(), ids=WAYS)
def test_without_capacity_the_librarys_layer_breaks_no_law(config: RouterConfig, seed: int) -> None:
    report = obeys(a_moe(config), d_model=D_MODEL, seed=seed)

    assert report, str(report)
    untested = {result.name for result in report if result.outcome != "holds"}
    assert untested == ({"gates sum"} if not config.normalize_gates else set())


UNUSUAL = {
    "router and experts with biases": ({"bias": True}, {"bias": True}, set()),
    "another norm": ({"norm_order": 2.0}, {}, {"gates sum"}),
    "floor under the sum": ({"score_fn": "sigmoid", "norm_floor": 2.0}, {}, {"gates sum"}),
    "groups by their best": ({"n_groups": 3, "top_groups": 2, "group_score": "best"}, {}, set()),
    "bounded SwiGLU": ({}, {"swiglu_limit": 0.3, "swiglu_shift": 1.0}, set()),
    "gated shared expert": ({}, {"shared_gate": True}, set()),
    "experts that give back": ({}, {"n_identity_experts": 2}, {"experts have no names"}),
    "gates on inputs": ({}, {"gates_on": "input"}, {"kept once", "k = E is dense"}),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_layer_of_another_kind_breaks_no_law(name: str) -> None:
    rule, options, untested = UNUSUAL[name]
    layer = a_moe(RouterConfig(n_experts=6, top_k=2, **rule), **options)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)

    report = obeys(layer, d_model=D_MODEL)

    assert report, str(report)
    assert {result.name for result in report if result.outcome != "holds"} == untested


def test_a_fixed_capacity_served_in_order_looks_back_and_never_ahead() -> None:
    report = obeys(a_moe(WAYS["softmax"], capacity=6), d_model=D_MODEL)
    assert {result.name for result in report.broken} == {"batch invariance"}


@pytest.mark.parametrize("policy", ["first_come", "by_gate", "random"])
def test_capacity_breaks_batch_invariance_and_prefix_causality(policy: str) -> None:
    layer = a_moe(WAYS["softmax"], capacity_factor=1.0, drop_policy=policy)

    report = obeys(layer, d_model=D_MODEL)

    assert {result.name for result in report.broken} == {"batch invariance", "prefix causality"}
    assert "who is dropped depends on who else is in the batch" in report["batch invariance"].seen


def test_a_capacity_that_drops_nothing_breaks_nothing() -> None:
    layer = a_moe(WAYS["softmax"], capacity_factor=3.0)  # E / K: room for everybody everywhere
    assert obeys(layer, d_model=D_MODEL)


def test_expert_choice_breaks_batch_invariance_and_prefix_causality() -> None:
    config = RouterConfig(n_experts=6, top_k=2, choice="expert")
    report = obeys(a_moe(config), d_model=D_MODEL)
    assert {result.name for result in report.broken} == {"batch invariance", "prefix causality"}


@pytest.mark.parametrize(
    "config",
    [
        RouterConfig(n_experts=6, top_k=1),
        RouterConfig(n_experts=6, top_k=1, topk_first=True),
        RouterConfig(n_experts=6, top_k=1, score_fn="sigmoid", gate_scale=2.5),
        RouterConfig(n_experts=1, top_k=1),
    ],
    ids=["normalised-top-1", "softmax-after-top-1", "sigmoid-top-1", "one-expert"],
)
def test_where_mathematics_forbids_learning_the_report_says_so(config: RouterConfig) -> None:
    layer = a_moe(config)

    report = obeys(layer, d_model=D_MODEL)

    assert report["router learns"].outcome == "cannot hold"
    assert report, "what cannot hold is not broken"
    layer(torch.randn(32, D_MODEL))[0].square().sum().backward()
    gradient = layer.router.proj.weight.grad
    assert gradient is None or gradient.abs().max() < 1e-4, "and indeed the task says nothing"


def test_a_layer_with_only_a_forward_pass_is_tested_as_far_as_possible() -> None:
    layer = a_moe(WAYS["softmax"])

    report = obeys(lambda x: layer(x), d_model=D_MODEL)

    assert report
    assert report["batch invariance"].outcome == "holds"
    assert report["kept once"].outcome == "not tested"
    assert report["kept once"].seen == "needs to be told expert"


def test_what_a_layer_does_not_tell_can_be_passed_by_name() -> None:
    layer = a_moe(WAYS["softmax"])
    layer.shared_expert = None
    told = Subject.of(layer, d_model=D_MODEL)

    report = obeys(
        lambda x: layer(x),
        d_model=D_MODEL,
        expert=told.expert,
        expert_rows=told.expert_rows,
        expert_bias=layer.router.expert_bias,
    )

    assert report["kept once"].outcome == "holds"
    assert report["experts have no names"].outcome == "holds"
    assert report["bias stays out"].outcome == "holds"
    with pytest.raises(ValueError, match=r"do not know \['exprt'\]"):
        obeys(layer, d_model=D_MODEL, exprt=told.expert)


class Learners(nn.Module):
    """An MoE as a learner writes it: a list of modules, a loop, and room for one mistake."""

    def __init__(self, mistake: Callable[[Routing], Routing] = lambda routing: routing) -> None:
        super().__init__()
        self.router = nn.Module()
        self.router.proj = nn.Linear(D_MODEL, 5, bias=False)
        self.experts = nn.ModuleList(nn.Linear(D_MODEL, D_MODEL) for _ in range(5))
        self.mistake = mistake

    def route(self, x: Tensor) -> Routing:
        logits = self.router.proj(x)
        probs = logits.softmax(dim=-1)
        gates, ids = probs.topk(2)
        return Routing(logits, probs, gates / gates.sum(dim=-1, keepdim=True), ids)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        routing = self.mistake(self.route(x))
        y = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            token, choice = torch.where(routing.expert_ids == e)
            y = y.index_add(0, token, routing.gates[token, choice, None] * expert(x[token]))
        return y, routing


def test_a_learners_list_of_modules_is_understood() -> None:
    report = obeys(Learners(), d_model=D_MODEL)
    assert report, str(report)
    for name in ("kept once", "experts have no names", "router learns"):
        assert report[name].outcome == "holds", name


MISTAKES = {
    "forgot-to-normalise": (
        lambda r: replace(r, gates=r.probs.gather(-1, r.expert_ids)),
        {"gates sum"},
    ),
    "detached-gates": (lambda r: replace(r, gates=r.gates.detach()), {"router learns"}),
    "the-same-expert-twice": (
        lambda r: replace(r, expert_ids=r.expert_ids[:, :1].expand(-1, 2)),
        {"distinct experts"},
    ),
    "softmax-over-tokens": (
        lambda r: replace(r, gates=r.gates.softmax(dim=0)),
        {"gates sum", "batch invariance", "prefix causality"},
    ),
    "gates-of-another-token": (
        lambda r: replace(r, gates=r.gates.roll(1, dims=0)),
        {"batch invariance", "prefix causality"},
    ),
    "a-favourite": (
        lambda r: replace(r, expert_ids=r.expert_ids * torch.tensor([1, 0])),
        {"experts have no names"},
    ),
}


@pytest.mark.parametrize(("mistake", "laws"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_routing_breaks_the_laws_it_should(mistake, laws: set[str]) -> None:
    broken = {result.name for result in obeys(Learners(mistake), d_model=D_MODEL).broken}
    assert laws <= broken


def broken_in(layer, **known) -> set[str]:
    return {result.name for result in obeys(layer, d_model=D_MODEL, **known).broken}


def test_a_lost_row_is_noticed() -> None:
    class Loses(Learners):
        def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
            y, routing = super().forward(x)
            lost = routing.gates[:, 1:] * self.experts[0](x) * (routing.expert_ids[:, 1:] == 0)
            return y - lost, routing

    assert broken_in(Loses()) >= {"kept once"}


def test_a_bias_that_leaks_into_the_gates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = a_moe(WAYS["sigmoid"])

    def leaking(config: RouterConfig, logits: Tensor, probs: Tensor, expert_ids: Tensor) -> Tensor:
        ranking = probs.detach() + layer.router.expert_bias
        gates = ranking.gather(-1, expert_ids)
        return gates / gates.sum(dim=-1, keepdim=True)

    assert not broken_in(layer)
    monkeypatch.setattr("moe_teach.ops.route.gates_of", leaking)
    assert "bias stays out" in broken_in(layer)
    assert "router learns" in broken_in(layer), "the ranking carries no gradient"


def test_a_bias_multiplied_instead_of_added_is_noticed() -> None:
    class Multiplies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Learners()
            self.register_buffer("bias", torch.ones(5))

        def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
            y, routing = self.inner(x)
            return y * self.bias.mean(), routing

    layer = Multiplies()
    assert "bias shift" in broken_in(layer, expert_bias=layer.bias)


def test_a_loss_that_forgets_k_is_noticed() -> None:
    def forgets(routing: Routing) -> Tensor:
        return routing.top_k * load_balance_loss(routing)

    report = obeys(Learners(), d_model=D_MODEL, balance_loss=forgets)
    assert "divided by T and not by T * K" in report["balanced loss"].seen


def test_a_layer_that_normalises_over_its_k_at_k_equals_e_only_is_noticed() -> None:
    layer = a_moe(WAYS["softmax"])
    wrong = a_moe(RouterConfig(n_experts=6, top_k=6))
    broken = broken_in(layer, with_top_k=lambda top_k: wrong)
    assert broken == {"k = E is dense"}, "another layer's weights are not this layer's mixture"


def test_noise_during_evaluation_is_noticed() -> None:
    assert "repeatable" in broken_in(
        Learners(lambda r: replace(r, gates=r.gates + torch.rand_like(r.gates) / 10))
    )


def test_a_buffer_that_moves_in_evaluation_is_noticed() -> None:
    class Counts(Learners):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
            self.seen += len(x)
            return super().forward(x)

    report = obeys(Counts(), d_model=D_MODEL)
    assert report["repeatable"].seen == "Evaluation moved the buffer seen."


def test_an_error_in_the_layer_becomes_a_row_of_the_table() -> None:
    def unfinished(x: Tensor) -> tuple[Tensor, Routing]:
        raise NotImplementedError("not <yet>")

    report = obeys(unfinished, d_model=D_MODEL)

    assert report["shapes"].outcome == "raised"
    assert report["shapes"].seen == "NotImplementedError: not <yet>"
    assert "not &lt;yet&gt;" in report._repr_html_(), "learner text is escaped"


def test_the_layer_is_left_as_it_was() -> None:
    layer = a_moe(WAYS["noisy"]).train()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    random_state = torch.random.get_rng_state()

    obeys(layer, d_model=D_MODEL)

    assert layer.training and layer.router.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_the_table_has_no_column_that_stays_empty_where_all_laws_hold() -> None:
    held = obeys(a_moe(WAYS["softmax"]), d_model=D_MODEL)._repr_html_()
    broken = obeys(a_moe(WAYS["softmax"], capacity_factor=1.0), d_model=D_MODEL)._repr_html_()

    assert held.count("<th>") == 2 and "<td></td>" not in held
    assert "<i>seen: " in broken and "at token" in broken


def test_the_table_reads_the_same_every_time() -> None:
    layer = a_moe(WAYS["softmax"], capacity_factor=1.0)
    first, again = obeys(layer, d_model=D_MODEL), obeys(layer, d_model=D_MODEL)

    assert str(first) == str(again) and not first
    assert {result.name for result in first} == NAMES
    assert "✗ batch invariance" in str(first)
    with pytest.raises(KeyError, match="There is no law called 'gravity'"):
        first["gravity"]
