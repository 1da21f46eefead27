"""Who is chosen and with what weight, for every way a router can be configured."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router
from moe_teach.ops.route import score
from moe_teach.types import Routing

WAYS = {
    "softmax": RouterConfig(n_experts=8, top_k=2),
    "softmax-as-it-comes": RouterConfig(n_experts=8, top_k=2, normalize_gates=False),
    "topk-first": RouterConfig(n_experts=8, top_k=2, topk_first=True),
    "sigmoid": RouterConfig(n_experts=8, top_k=3, score_fn="sigmoid", gate_scale=2.5),
    "sqrt-softplus": RouterConfig(n_experts=8, top_k=3, score_fn="sqrt_softplus", gate_scale=1.5),
    "noisy": RouterConfig(n_experts=8, top_k=2, noisy=True, jitter=0.1),
    "groups": RouterConfig(n_experts=8, top_k=2, score_fn="sigmoid", n_groups=4, top_groups=2),
    "groups-by-their-best": RouterConfig(
        n_experts=8, top_k=2, n_groups=4, top_groups=2, group_score="best"
    ),
    "biased": RouterConfig(n_experts=8, top_k=2, bias=True),
    "expert-choice": RouterConfig(n_experts=8, top_k=2, choice="expert"),
    "everyone": RouterConfig(n_experts=4, top_k=4),
    "one-expert": RouterConfig(n_experts=1, top_k=1),
}
every_way = pytest.mark.parametrize("config", WAYS.values(), ids=WAYS)


def a_router(config: RouterConfig, d_model: int = 16) -> Router:
    router = Router(d_model, config).eval()
    torch.nn.init.normal_(router.proj.weight, std=0.5)  # clear preferences
    return router


def with_logits(router: Router, logits: Tensor) -> Routing:
    """Route tokens whose logits are given: the projection becomes the identity."""
    with torch.no_grad():
        router.proj.weight.copy_(torch.eye(router.config.n_experts))
    return router(logits)


@every_way
def test_gates_are_a_mixture_of_distinct_experts(config: RouterConfig) -> None:
    routing = a_router(config)(torch.randn(32, 16))

    assert all(len(set(row)) == len(row) for row in routing.expert_ids.tolist())
    assert (routing.gates >= 0).all() and routing.gates.isfinite().all()
    if config.normalize_gates and config.choice == "token":
        expected = torch.full((32,), config.gate_scale)
        torch.testing.assert_close(routing.gates.sum(dim=-1), expected)


@every_way
def test_no_tokens_make_an_empty_decision(config: RouterConfig) -> None:
    routing = a_router(config)(torch.zeros(0, 16))
    assert routing.probs.shape == (0, config.n_experts) and len(routing.gates) == 0


@every_way
def test_evaluation_is_repeatable_and_moves_nothing(config: RouterConfig) -> None:
    router, x = a_router(config), torch.randn(32, 16)
    router.expert_bias += torch.randn(config.n_experts) / 10
    state = {name: tensor.clone() for name, tensor in router.state_dict().items()}

    first, again = router(x), router(x)

    assert torch.equal(first.gates, again.gates)
    assert all(torch.equal(tensor, state[name]) for name, tensor in router.state_dict().items())


@pytest.mark.parametrize("kind", ["noisy", "jitter"])
def test_noise_acts_in_training_only(kind: str) -> None:
    noise = {"noisy": True} if kind == "noisy" else {"jitter": 0.2}
    router, x = a_router(replace(WAYS["softmax"], **noise)), torch.randn(32, 16)
    quiet = a_router(WAYS["softmax"])
    quiet.load_state_dict(router.state_dict(), strict=False)

    assert torch.equal(router(x).logits, quiet(x).logits)
    router.train()
    assert not torch.equal(router(x).logits, quiet(x).logits)


def test_the_size_of_the_noise_is_learned() -> None:
    router = a_router(WAYS["noisy"]).train()
    router(torch.randn(64, 16)).gates[:, 0].sum().backward()
    assert router.noise_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_decisions_are_float32_whatever_comes_in(dtype: torch.dtype) -> None:
    router, x = a_router(WAYS["softmax"]).to(dtype), torch.randn(64, 16).to(dtype)
    exact = (x.double() @ router.proj.weight.double().T).softmax(dim=-1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = router(x)

    for tensor in (routing.logits, routing.probs, routing.gates):
        assert tensor.dtype == torch.float32
    torch.testing.assert_close(routing.probs.double(), exact, atol=1e-6, rtol=1e-5)


def test_at_a_tie_the_lowest_ids_are_chosen() -> None:
    routing = with_logits(Router(8, WAYS["softmax"]), torch.ones(5, 8))
    assert routing.expert_ids.tolist() == [[0, 1]] * 5


def test_softmax_before_or_after_topk_gives_the_same_gates_if_normalised() -> None:
    before, after = a_router(WAYS["softmax"]), a_router(WAYS["topk-first"])
    after.load_state_dict(before.state_dict())
    x = torch.randn(32, 16)
    torch.testing.assert_close(before(x).gates, after(x).gates)


def test_gates_that_are_not_normalised_are_the_probabilities() -> None:
    routing = a_router(WAYS["softmax-as-it-comes"])(torch.randn(32, 16))
    expected = routing.probs.gather(-1, routing.expert_ids)
    assert torch.equal(routing.gates, expected) and (expected.sum(dim=-1) < 1).all()


@pytest.mark.parametrize("way", ["softmax", "softmax-as-it-comes", "topk-first", "sigmoid"])
def test_bias_moves_the_choice_but_not_the_gates(way: str) -> None:
    config = WAYS[way]
    router, x = a_router(config), torch.randn(32, 16)
    router.expert_bias[3] = 10.0

    routing = router(x)

    assert (routing.expert_ids == 3).any(dim=-1).all(), "a huge bias must win every token"
    chosen = routing.probs.gather(-1, routing.expert_ids)
    if config.normalize_gates:
        chosen = chosen / chosen.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(routing.gates, chosen * config.gate_scale)


def test_bias_gets_no_gradient_and_no_optimiser_sees_it() -> None:
    router = a_router(WAYS["sigmoid"])
    assert "expert_bias" not in dict(router.named_parameters())
    assert "expert_bias" in router.state_dict(), "but a checkpoint must keep it"


def test_a_token_stays_within_its_best_groups() -> None:
    routing = a_router(WAYS["groups"])(torch.randn(64, 16))
    groups = routing.expert_ids // 2  # four groups of two
    best = routing.probs.view(64, 4, 2).sum(dim=-1).topk(2).indices
    is_open = (groups[..., None] == best[:, None]).any(dim=-1)
    assert is_open.all()


def test_a_negative_biased_score_still_beats_a_closed_group() -> None:
    router = Router(8, WAYS["groups"])
    router.expert_bias.fill_(-5.0)  # every biased score is negative
    logits = torch.tensor([[4.0, -9.0, 4.0, -9.0, -3.0, -3.0, -3.0, -3.0]])

    routing = with_logits(router, logits)

    assert routing.expert_ids.tolist() == [[0, 2]], "a mask of zeros would have chosen 4 and 5"


def test_under_expert_choice_experts_are_even_and_tokens_are_not() -> None:
    routing = a_router(WAYS["expert-choice"])(torch.randn(32, 16))

    assert routing.kept.sum(dim=0).tolist() == [8] * 8
    per_token = routing.kept.sum(dim=-1)
    assert per_token.min() < 2 < per_token.max()
    assert ((routing.gates > 0) == routing.kept).all()


def test_at_first_every_expert_gets_a_similar_share() -> None:
    probs = Router(256, RouterConfig(n_experts=8, top_k=2))(torch.randn(500, 256)).probs
    assert probs.max() < 0.4


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(4, 15), "has width 15, but this layer was built for width 16"),
        (torch.zeros(4, 16, dtype=torch.int64), "look up their embeddings first"),
        (torch.zeros(2, 4, 16), r"flatten batch and sequence with x.flatten\(0, -2\)"),
        (torch.full((4, 16), torch.nan), "logits of 4 of 4 tokens are NaN"),
        (torch.full((4, 16), torch.inf), "NaN or infinite"),
    ],
    ids=["width", "integers", "not-flat", "nan", "infinity"],
)
def test_bad_input_is_answered_with_a_sentence(x: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        a_router(WAYS["softmax"])(x)


@pytest.mark.parametrize("way", ["softmax", "sigmoid", "groups", "expert-choice"])
def test_a_bias_that_is_not_a_number_chooses_nobody(way: str) -> None:
    router = a_router(WAYS[way])
    router.expert_bias[1] = torch.nan
    with pytest.raises(ValueError, match="expert_bias holds NaN"):
        router(torch.randn(5, 16))


def test_a_square_root_of_a_softplus_scores_without_a_limit_and_survives_closed_experts() -> None:
    router = a_router(WAYS["sqrt-softplus"], d_model=8)
    logits = torch.tensor([[3.0, -1.0, 9.0, 1.0, 0.5, -200.0, 2.0, -3.0]])
    routing = with_logits(router, logits)
    probs = logits.exp().log1p().sqrt()  # log(1 + exp(logit)), then its root
    torch.testing.assert_close(routing.probs, probs, atol=1e-6, rtol=1e-6)
    assert routing.expert_ids.tolist() == [[2, 0, 6]] and routing.probs[0, 2] > 1
    chosen = probs[:, [2, 0, 6]]
    torch.testing.assert_close(routing.gates, 1.5 * chosen / chosen.sum())
    closed = torch.tensor([[1.0, -torch.inf, -500.0]], requires_grad=True)
    score(closed, "sqrt_softplus").sum().backward()
    assert closed.grad.isfinite().all()


def test_a_router_with_a_bias_learns_it_and_adds_it_to_the_logits() -> None:
    router = a_router(WAYS["biased"])
    x = torch.randn(9, 16)
    with torch.no_grad():
        plain = router(x).logits
        router.proj.bias.copy_(torch.arange(8.0))
    torch.testing.assert_close(router(x).logits, plain + torch.arange(8.0))
    router(x).gates[:, 0].sum().backward()
    assert router.proj.bias.grad.abs().max() > 0


def test_gates_are_divided_by_the_norm_that_is_asked_for() -> None:
    logits = torch.randn(9, 5, dtype=torch.float64)
    as_it_comes = RouterConfig(n_experts=5, top_k=3, normalize_gates=False)
    raw = with_logits(Router(5, as_it_comes).double(), logits).gates
    for order in (1.0, 2.0, 3.5):
        config = RouterConfig(n_experts=5, top_k=3, norm_order=order)
        gates = with_logits(Router(5, config).double(), logits).gates
        torch.testing.assert_close(gates.pow(order).sum(dim=-1), torch.ones(9).double())
        torch.testing.assert_close(gates / gates[:, :1], raw / raw[:, :1])


def test_gates_are_divided_by_no_less_than_the_floor() -> None:
    config = RouterConfig(n_experts=3, top_k=2, score_fn="sigmoid", norm_floor=0.5)
    certain, doubtful = with_logits(
        Router(3, config), torch.tensor([[2.0, 1, 0], [-4, -5, -6]])
    ).gates
    torch.testing.assert_close(certain.sum(), torch.tensor(1.0))
    torch.testing.assert_close(doubtful, torch.tensor([-4.0, -5.0]).sigmoid() / 0.5)


def test_a_group_is_as_good_as_its_best_expert_if_that_is_the_rule() -> None:
    logits = torch.tensor([[3.0, -3.0, 2.0, 2.0]])  # the best one, or the best two
    groups = {"n_experts": 4, "top_k": 1, "n_groups": 2, "top_groups": 1, "score_fn": "sigmoid"}
    by_best = RouterConfig(**groups, group_score="best")
    assert with_logits(Router(4, by_best), logits).expert_ids.tolist() == [[0]]
    assert with_logits(Router(4, RouterConfig(**groups)), logits).expert_ids.tolist() == [[2]]


TABLE = RouterConfig(n_experts=6, top_k=2, choice="table", table_size=10)


def test_a_table_chooses_and_the_scores_weigh() -> None:
    router = a_router(TABLE)
    x, ids = torch.randn(7, 16), torch.tensor([0, 9, 3, 3, 1, 0, 9])
    routing = router(x, ids)
    assert torch.equal(routing.expert_ids, router.table[ids])
    chosen = routing.probs.gather(1, routing.expert_ids)
    torch.testing.assert_close(routing.gates, chosen / chosen.sum(dim=-1, keepdim=True))
    routing.gates[:, 0].sum().backward()
    assert router.proj.weight.grad.abs().max() > 0


def test_a_table_has_different_experts_in_each_row_and_no_parameters() -> None:
    router = Router(16, TABLE)
    assert all(len(set(row)) == 2 for row in router.table.tolist())
    assert [name for name, _ in router.named_parameters()] == ["proj.weight"]
    assert router.to(torch.bfloat16).table.dtype == torch.int64


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (None, "chooses by token id and got none"),
        (torch.zeros(3, dtype=torch.int64), "7 rows, but 3 token ids"),
        (torch.full((7,), 10), "between 0 and 9: was the table made for another vocabulary"),
        (torch.full((7,), -1), "between 0 and 9"),
    ],
    ids=["none", "too-few", "too-large", "negative"],
)
def test_a_table_without_the_right_ids_is_refused(ids: Tensor | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Router(16, TABLE)(torch.randn(7, 16), ids)


IMPOSSIBLE = {
    "norm without sum": ({"norm_order": 2.0, "normalize_gates": False}, "nothing is divided"),
    "floor of a softmax over the chosen": (
        {"norm_floor": 0.1, "topk_first": True},
        "nothing is divided",
    ),
    "no norm": ({"norm_order": 0.0}, "norm_order must be positive"),
    "floor below zero": ({"norm_floor": -1.0}, "norm_floor at least 0"),
    "table without rows": ({"choice": "table"}, "belong together"),
    "rows without a table": ({"table_size": 5}, "belong together"),
    "empty table": ({"choice": "table", "table_size": 0}, "table_size must be at least 1"),
    "groups of a table": (
        {"choice": "table", "table_size": 5, "n_groups": 2, "top_groups": 1},
        "the table has chosen",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_rules_are_refused_in_a_sentence(name: str) -> None:
    options, sentence = IMPOSSIBLE[name]
    with pytest.raises(ValueError, match=sentence):
        RouterConfig(n_experts=6, top_k=2, **options)
