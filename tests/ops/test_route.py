"""The plain router in one operation: the same decision by every backend."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router
from moe_teach.ops.backends import listening
from moe_teach.ops.route import ROUTE, route
from moe_teach.ops.triton_mode import mode

without_kernels = pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")
marked = {"triton": pytest.param("triton", marks=without_kernels)}
every_backend = pytest.mark.parametrize("backend", [marked.get(b, b) for b in ROUTE.backends])

WAYS = {
    "softmax": RouterConfig(n_experts=7, top_k=3),
    "raw gates": RouterConfig(n_experts=7, top_k=3, normalize_gates=False),
    "topk first": RouterConfig(n_experts=7, top_k=3, topk_first=True, normalize_gates=False),
    "sigmoid": RouterConfig(n_experts=7, top_k=3, score_fn="sigmoid", gate_scale=2.5),
    "one expert": RouterConfig(n_experts=1, top_k=1),
    "everybody": RouterConfig(n_experts=4, top_k=4),
    "eight of 256": RouterConfig(n_experts=256, top_k=8, score_fn="sigmoid"),
}
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def by_the_book(x: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, config: RouterConfig):
    """Logits, probabilities and gates of given experts; written down, not composed."""
    logits = torch.stack([(x * row).sum(dim=-1) for row in weight], dim=-1)
    if config.score_fn == "softmax":
        probs = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    else:
        probs = 1 / (1 + (-logits).exp())
    gates = torch.stack([probs[t, ids[t]] for t in range(len(x))]) if len(x) else probs[:, :0]
    if config.normalize_gates or config.topk_first:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return logits, probs, gates * config.gate_scale


def best_of(ranking: list[float], top_k: int) -> list[int]:
    return sorted(range(len(ranking)), key=lambda expert: (-ranking[expert], expert))[:top_k]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).split(".")[1])
@every_backend
@pytest.mark.parametrize("way", WAYS)
def test_the_decision_is_by_the_book_and_so_is_every_gradient(way, backend, dtype) -> None:
    config = WAYS[way]
    n_tokens, width, n_experts = 5, 11, config.n_experts
    x, weight = torch.randn(n_tokens, width).to(dtype), torch.randn(n_experts, width).to(dtype) / 4
    bias = torch.randn(n_experts) / 10
    pushes = [torch.randn(n_tokens, size) for size in (n_experts, n_experts, config.top_k)]

    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    got = route(*leaves, bias, config, backend=backend)
    outputs = got.logits, got.probs, got.gates
    gradients = torch.autograd.grad(outputs, leaves, pushes)

    assert [tensor.dtype for tensor in outputs] == [torch.float32] * 3
    for ranking, chosen in zip((got.probs + bias).tolist(), got.expert_ids.tolist(), strict=True):
        assert chosen == best_of(ranking, config.top_k)
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    book = by_the_book(*exact, bias, got.expert_ids, config)
    for tensor, expected in zip(outputs, book, strict=True):  # exact products, whatever the dtype
        torch.testing.assert_close(tensor.double(), expected, atol=1e-5, rtol=1e-5)
    wanted = torch.autograd.grad(book, exact, [push.double() for push in pushes])
    for gradient, expected in zip(gradients, wanted, strict=True):
        assert gradient.dtype == dtype
        tolerance = TOLERANCE[dtype] * (1 + float(expected.abs().max()))
        torch.testing.assert_close(gradient.double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_backend
def test_precise_weights_are_not_rounded_to_meet_the_tokens(backend, dtype) -> None:
    x, weight = torch.randn(5, 40).to(dtype), torch.randn(7, 40)
    leaves = x.requires_grad_(), weight.requires_grad_()

    routing = route(*leaves, None, WAYS["softmax"], backend=backend)

    exact = x.double() @ weight.double().T
    torch.testing.assert_close(routing.logits.double(), exact, atol=3e-6, rtol=1e-6)
    gradients = torch.autograd.grad(routing.gates[:, 0].sum(), leaves)
    assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32]


@every_backend
def test_at_a_tie_the_lowest_id_wins(backend: str) -> None:
    levels = torch.tensor([[1.0, 2, 2, 0, 2, 1], [0, 0, 0, 0, 0, 0], [50, 60, 40, 70, 80, -90]])
    config = RouterConfig(n_experts=6, top_k=4, score_fn="sigmoid")
    routing = route(levels, torch.eye(6), None, config, backend=backend)
    # The logits of the last token differ, but their sigmoids are all the same number, 1.
    assert routing.expert_ids.tolist() == [[1, 2, 4, 0], [0, 1, 2, 3], [0, 1, 2, 3]]


@every_backend
def test_the_bias_moves_the_choice_but_not_the_gates(backend: str) -> None:
    x, bias = torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([0.0, 5.0, 0.0, -math.inf])
    config = RouterConfig(n_experts=4, top_k=2, normalize_gates=False)
    routing = route(x, torch.eye(4), bias, config, backend=backend)
    assert routing.expert_ids.tolist() == [[1, 2]]
    torch.testing.assert_close(routing.gates, x.softmax(dim=-1)[:, 1:3])


@every_backend
def test_closed_experts_are_chosen_last_and_nobody_twice(backend: str) -> None:
    bias = torch.tensor([-math.inf, 0.0, -math.inf, -math.inf])
    config = RouterConfig(n_experts=4, top_k=3)
    routing = route(torch.zeros(2, 4), torch.eye(4), bias, config, backend=backend)
    assert routing.expert_ids.tolist() == [[1, 0, 2]] * 2


@every_backend
def test_gates_that_all_underflow_are_zero_and_not_nan(backend: str) -> None:
    config = RouterConfig(n_experts=3, top_k=2, score_fn="sigmoid")
    routing = route(torch.full((1, 3), -200.0), torch.eye(3), None, config, backend=backend)
    assert (routing.gates == 0).all()


@pytest.mark.parametrize("score_fn", ["softmax", "sigmoid"])
@every_backend
def test_logits_of_any_size_give_finite_gates(score_fn: str, backend: str) -> None:
    config = RouterConfig(n_experts=3, top_k=2, score_fn=score_fn)
    x = torch.tensor([[1e4, -1e4, 1e4 - 1], [-1e4, -1e4, -1e4]])
    routing = route(x, torch.eye(3), None, config, backend=backend)
    assert routing.expert_ids.tolist() == [[0, 2], [0, 1]] and routing.gates.isfinite().all()


@pytest.mark.parametrize("score_fn", ["softmax", "sigmoid"])
@every_backend
def test_broken_logits_are_refused(backend: str, score_fn: str) -> None:
    config = RouterConfig(n_experts=4, top_k=2, score_fn=score_fn)
    closed = torch.full((4,), -math.inf)
    for broken in (torch.tensor([0.0, 0.0, math.nan, 0.0]), torch.tensor([math.inf, 0, 0, 0])):
        x = torch.zeros(3, 4)
        x[1] = broken
        with pytest.raises(ValueError, match=r"logits of [13] of 3 tokens are NaN or infinite"):
            route(x, torch.eye(4), None, config, backend=backend)
    with pytest.raises(ValueError, match=r"logits of 3 of 3 tokens are NaN or infinite"):
        route(torch.ones(3, 1), closed[:, None], None, config, backend=backend)


@every_backend
def test_a_bias_that_is_no_number_is_refused(backend: str) -> None:
    bias, config = torch.tensor([0.0, math.nan, 0.0]), RouterConfig(n_experts=3, top_k=1)
    with pytest.raises(ValueError, match="expert_bias holds NaN"):
        route(torch.ones(2, 3), torch.eye(3), bias, config, backend=backend)


@pytest.mark.parametrize("way", ["softmax", "sigmoid", "topk_first"])
@every_backend
def test_minus_infinity_closes_an_expert_to_a_token(backend: str, way: str) -> None:
    kind = {"topk_first": True} if way == "topk_first" else {"score_fn": way}
    x = torch.ones(2, 1, requires_grad=True)
    weight = torch.tensor([[1.0], [-math.inf], [0.5], [-math.inf]], requires_grad=True)
    for top_k, ids in ((2, [0, 2]), (3, [0, 2, 1])):
        config = RouterConfig(n_experts=4, top_k=top_k, **kind)
        # The interpreter multiplies rows that do not exist, and zero times infinity warns.
        with np.errstate(invalid="ignore"):
            routing = route(x, weight, None, config, backend=backend)
        assert routing.expert_ids.tolist() == [ids, ids]
        assert (routing.probs[:, [1, 3]] == 0).all() and routing.gates.isfinite().all()
        torch.testing.assert_close(routing.gates.sum(dim=-1), torch.ones(2))
        if top_k == 3:
            assert (routing.gates[:, 2] == 0).all(), "chosen all the same, and worth nothing"
        (dweight,) = torch.autograd.grad(routing.gates[:, 0].sum(), weight)
        assert dweight.isfinite().all()


@every_backend
def test_gates_of_experts_that_only_a_bias_chose_do_not_underflow(backend: str) -> None:
    x = torch.tensor([[0.0, -300.0, -299.0]], requires_grad=True)
    config = RouterConfig(n_experts=3, top_k=2, topk_first=True)
    bias = torch.tensor([0.0, 10.0, 5.0])
    routing = route(x, torch.eye(3), bias, config, backend=backend)
    assert routing.expert_ids.tolist() == [[1, 2]]
    expected = torch.tensor([[-300.0, -299.0]]).softmax(dim=-1)
    torch.testing.assert_close(routing.gates, expected)
    (dx,) = torch.autograd.grad(routing.gates[0, 0], x)
    slope = (expected[0, 0] * expected[0, 1]).item()
    torch.testing.assert_close(dx, torch.tensor([[0.0, slope, -slope]]))


@every_backend
def test_no_tokens_are_no_decision(backend: str) -> None:
    x, weight = torch.zeros(0, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    routing = route(x, weight, None, RouterConfig(n_experts=3, top_k=2), backend=backend)
    assert routing.expert_ids.shape == (0, 2)
    routing.gates.sum().backward()
    assert (weight.grad == 0).all()


@every_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    x, weight, config = torch.randn(6, 5), torch.randn(7, 5), WAYS["softmax"]
    expected = route(x, weight, None, config)
    transposed = x.T.contiguous().T, weight.T.contiguous().T
    got = route(*transposed, None, config, backend=backend)
    torch.testing.assert_close(got.logits, expected.logits)
    assert torch.equal(got.expert_ids, expected.expert_ids)


@every_backend
def test_autocast_makes_no_decision_less_precise(backend: str) -> None:
    leaves = [torch.randn(6, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)]
    plain = route(*leaves, None, WAYS["softmax"], backend=backend)
    expected = torch.autograd.grad(plain.gates[:, 0].sum(), leaves)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = route(*leaves, None, WAYS["softmax"], backend=backend)
    got = torch.autograd.grad(routing.gates[:, 0].sum(), leaves)

    assert torch.equal(routing.logits, plain.logits)
    for gradient, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_plain_choice_is_refused() -> None:
    x, weight = torch.zeros(2, 4), torch.zeros(6, 4)
    for kind in (
        {"n_groups": 2, "top_groups": 1},
        {"choice": "expert"},
        {"choice": "table", "table_size": 9},
        {"score_fn": "sqrt_softplus"},
        {"norm_order": 2.0},
        {"norm_floor": 0.1},
        {"bias": True},
    ):
        with pytest.raises(ValueError, match=r"For groups, tables, .* use a Router"):
            route(x, weight, None, RouterConfig(n_experts=6, top_k=2, **kind))
    with pytest.raises(ValueError, match="top_k is 3, but weight scores only 2 experts"):
        route(x, weight[:2], None, RouterConfig(n_experts=6, top_k=3))
    with pytest.raises(ValueError, match="width 4, but this layer was built for width 5"):
        route(x, torch.zeros(6, 5), None, WAYS["one expert"])
    with pytest.raises(ValueError, match="Unknown backend 'cuda': choose one of reference"):
        route(x, weight, None, RouterConfig(n_experts=6, top_k=2), backend="cuda")


def test_a_plain_router_decides_in_one_operation_and_every_other_composes() -> None:
    noisy = RouterConfig(n_experts=4, top_k=2, noisy=True)
    grouped = RouterConfig(n_experts=4, top_k=2, n_groups=2, top_groups=1)
    experts = RouterConfig(n_experts=4, top_k=2, choice="expert")
    for config, is_training, is_one in [
        (WAYS["softmax"], True, True),
        (noisy, True, False),
        (noisy, False, True),
        (RouterConfig(n_experts=4, top_k=2, jitter=0.1), True, False),
        (grouped, True, False),
        (experts, True, False),
    ]:
        router, x = Router(8, config).train(is_training), torch.randn(5, 8)
        router.expert_bias.normal_()
        with listening() as heard:
            got = router(x)
        assert [pick.operation for pick in heard] == ["route"] * is_one, config
        if is_one:
            expected = route(x, router.proj.weight, router.expert_bias, config)
            assert torch.equal(got.expert_ids, expected.expert_ids)
            assert torch.equal(got.gates, expected.gates)
