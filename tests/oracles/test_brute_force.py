"""Every way of computing the routed experts, against a loop over tokens and choices.

The oracle works in float64 and knows nothing of sorting, slots or offsets.
One test body serves all backends, all edge shapes and all dtypes, for outputs and every gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import MoE
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.ops.grouped_ffn import GROUPED_FFN, grouped_ffn
from moe_teach.ops.routed_ffn import ROUTED_FFN, routed_ffn
from moe_teach.ops.triton_mode import mode
from moe_teach.types import ExpertWeights, Routing

FFN_BACKENDS = GROUPED_FFN.backends
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Case:
    """Sizes, and who goes where."""

    n_tokens: int
    n_experts: int
    top_k: int
    d_model: int = 8
    d_ff: int = 16
    ids: Callable[[int, int, int], Tensor] | None = None
    keep: Callable[[Tensor], Tensor] | None = None


def anyone(n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    return torch.rand(n_tokens, n_experts).argsort(dim=-1)[:, :top_k]


def only_the_last(n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    return torch.full((n_tokens, top_k), n_experts - 1)


def never_the_first(n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    return 1 + anyone(n_tokens, n_experts - 1, top_k)


def half(ids: Tensor) -> Tensor:
    return torch.rand(ids.shape) < 0.5


def none_of_token_0(ids: Tensor) -> Tensor:
    kept = torch.ones_like(ids, dtype=torch.bool)
    kept[0] = False
    return kept


CASES = {
    "one-token": Case(1, 4, 2),
    "one-expert": Case(5, 1, 1),
    "one-of-each": Case(1, 1, 1),
    "empty-expert": Case(9, 4, 2, ids=never_the_first),
    "all-to-one-expert": Case(7, 5, 1, ids=only_the_last),
    "all-experts-chosen": Case(6, 3, 3),
    "ragged": Case(13, 7, 3),
    "widths-that-no-vector-unit-likes": Case(11, 5, 2, d_model=7, d_ff=13),
    "more-experts-than-rows": Case(3, 16, 2),
    "no-tokens": Case(0, 4, 2),
    "half-dropped": Case(11, 5, 2, keep=half),
    "one-token-dropped": Case(5, 4, 2, keep=none_of_token_0),
    "all-dropped": Case(4, 3, 2, keep=torch.zeros_like),
}
ACTIVATIONS = ("swiglu", "gelu", "relu")
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}

# Kernels run here one program after another, some 20 ms each: they do all shapes, and what else
# there is on one shape. They compute in float32 at most.
without_triton = pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")
every_backend = pytest.mark.parametrize(
    "backend",
    [pytest.param(b, marks=without_triton) if b == "triton" else b for b in ROUTED_FFN.backends],
)


def trials(backends: tuple[str, ...], others: tuple[str, ...], kernels_take: str) -> list:
    """Pair every backend with everything else it can do; the kernels with one thing only."""
    pairs = [(b, o) for b in backends for o in others if b != "triton" or o == kernels_take]
    return [
        pytest.param(*pair, id="-".join(pair), marks=without_triton if pair[0] == "triton" else ())
        for pair in pairs
    ]


def brute_force(x: Tensor, routing: Routing, weights: ExpertWeights, activation: str) -> Tensor:
    """The sum over the kept choices of gate times expert, one token and one choice at a time."""
    out = []
    for t in range(len(x)):
        row = 0 * x[t]
        for k in range(routing.top_k):
            if routing.kept is not None and not routing.kept[t, k]:
                continue
            e = int(routing.expert_ids[t, k])
            inner = weights.w_up[e] @ x[t]
            if activation == "swiglu":
                before = weights.w_gate[e] @ x[t]
                inner = inner * before / (1 + torch.exp(-before))
            elif activation == "gelu":
                inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
            else:
                inner = inner * (inner > 0)
            row = row + routing.gates[t, k] * (weights.w_down[e] @ inner)
        out.append(row)
    return torch.stack(out) if out else x * 1.0


def leaves(case: Case, activation: str) -> dict[str, Tensor]:
    n_experts, d_model, d_ff = case.n_experts, case.d_model, case.d_ff
    tensors = {
        "x": torch.randn(case.n_tokens, d_model),
        "gates": torch.rand(case.n_tokens, case.top_k),
        "w_up": torch.randn(n_experts, d_ff, d_model) * d_model**-0.5,
        "w_down": torch.randn(n_experts, d_model, d_ff) * d_ff**-0.5,
    }
    if activation == "swiglu":
        tensors["w_gate"] = torch.randn(n_experts, d_ff, d_model) * d_model**-0.5
    return tensors


def run(function: Callable, tensors: dict[str, Tensor], dtype: torch.dtype, rest: tuple) -> dict:
    """Run in `dtype` and return the output and the gradient of every leaf, in float64."""
    expert_ids, kept, activation, dy = rest
    tensors = {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}
    weights = ExpertWeights(tensors["w_up"], tensors["w_down"], tensors.get("w_gate"))
    blank = torch.zeros(len(expert_ids), len(tensors["w_up"]), dtype=dtype)
    routing = Routing(blank, blank, tensors["gates"], expert_ids, kept)
    y = function(tensors["x"], routing, weights, activation)
    gradients = torch.autograd.grad(
        y, list(tensors.values()), dy.to(dtype), allow_unused=True, materialize_grads=True
    )
    named = {f"d{name}": gradient for name, gradient in zip(tensors, gradients, strict=True)}
    return {name: tensor.double() for name, tensor in {"y": y, **named}.items()}


def assert_all_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, wanted in expected.items():
        torch.testing.assert_close(
            got[name],
            wanted,
            atol=tolerance,
            rtol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def compare(case: Case, activation: str, dtype: torch.dtype, function: Callable) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in leaves(case, activation).items()}
    expert_ids = (case.ids or anyone)(case.n_tokens, case.n_experts, case.top_k)
    kept = None if case.keep is None else case.keep(expert_ids).bool()
    dy = torch.randn(case.n_tokens, case.d_model).to(dtype)
    rest = (expert_ids, kept, activation, dy)

    expected = run(brute_force, tensors, torch.float64, rest)
    assert_all_close(run(function, tensors, dtype, rest), expected, TOLERANCE[dtype])


@pytest.mark.parametrize(("backend", "dtype"), trials(ROUTED_FFN.backends, tuple(DTYPES), "fp32"))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_backend_is_the_formula(case: Case, backend: str, dtype: str) -> None:
    compare(case, "swiglu", DTYPES[dtype], partial(routed_ffn, backend=backend))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", [b for b in ROUTED_FFN.backends if b != "triton"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outside_training_every_backend_is_the_formula_too(
    case: Case, backend: str, dtype: str
) -> None:
    """Without gradients some take another way, and memory is used again."""
    kind = getattr(torch, dtype)
    tensors = {name: tensor.to(kind) for name, tensor in leaves(case, "swiglu").items()}
    x, gates, *matrices = tensors.values()
    expert_ids = (case.ids or anyone)(case.n_tokens, case.n_experts, case.top_k)
    kept = None if case.keep is None else case.keep(expert_ids).bool()
    blank = torch.zeros(case.n_tokens, case.n_experts)
    before = {name: tensor.clone() for name, tensor in tensors.items()}

    with torch.no_grad():
        routing = Routing(blank, blank, gates, expert_ids, kept)
        y = routed_ffn(x, routing, ExpertWeights(*matrices), "swiglu", backend=backend)
        exact = replace(routing, gates=gates.double())
        exactly = ExpertWeights(*(matrix.double() for matrix in matrices))
        expected = brute_force(x.double(), exact, exactly, "swiglu")

    assert y.dtype == kind
    assert_all_close({"y": y.double()}, {"y": expected}, TOLERANCE[kind])
    assert_all_close(tensors, before, 0.0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@every_backend
def test_every_backend_knows_every_activation(backend: str, activation: str) -> None:
    case = CASES["ragged"]
    compare(case, activation, torch.float32, partial(routed_ffn, backend=backend))


@every_backend
@pytest.mark.parametrize("name", ["ragged", "half-dropped", "no-tokens", "one-token"])
def test_every_backend_works_in_bfloat16(name: str, backend: str) -> None:
    compare(CASES[name], "swiglu", torch.bfloat16, partial(routed_ffn, backend=backend))


@pytest.mark.parametrize(("backend", "activation"), trials(FFN_BACKENDS, ACTIVATIONS, "gelu"))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_grouped_feed_forward_is_the_formula(
    case: Case, backend: str, activation: str
) -> None:
    def between_dispatch_and_combine(
        x: Tensor, routing: Routing, weights: ExpertWeights, activation: str
    ) -> Tensor:
        rows, sent = dispatch(x, routing, backend="reference")
        y = grouped_ffn(rows, sent.expert_offsets, weights, activation, backend=backend)
        return combine(y, routing.gates, sent, backend="reference")

    compare(case, activation, torch.float32, between_dispatch_and_combine)


@every_backend
def test_memory_order_does_not_matter(backend: str) -> None:
    """Transposed and strided leaves, and a gradient that is one number expanded."""

    def scattered(tensor: Tensor) -> Tensor:
        doubled = torch.stack([tensor, torch.full_like(tensor, torch.nan)], dim=-1)
        return doubled.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]

    def on_scattered(x: Tensor, routing: Routing, weights: ExpertWeights, activation: str):
        matrices = (scattered(w) for w in (weights.w_up, weights.w_down, weights.w_gate))
        return routed_ffn(
            scattered(x), routing, ExpertWeights(*matrices), activation, backend=backend
        )

    compare(CASES["ragged"], "swiglu", torch.float32, on_scattered)

    x = torch.randn(6, 8, requires_grad=True)
    ids, blank = anyone(6, 3, 2), torch.zeros(6, 3)
    weights = ExpertWeights(*torch.randn(2, 3, 8, 8, requires_grad=True).unbind())
    routing = Routing(blank, blank, torch.ones(6, 2), ids)
    routed_ffn(x, routing, weights, "relu", backend=backend).sum().backward()
    assert x.grad.isfinite().all()


@every_backend
def test_only_one_hot_products_carry_a_poisoned_token_to_its_neighbours(backend: str) -> None:
    x = torch.randn(6, 8)
    x[2] = torch.nan
    blank = torch.zeros(6, 3)
    routing = Routing(blank, blank, torch.ones(6, 2), anyone(6, 3, 2))
    weights = ExpertWeights(torch.randn(3, 8, 8), torch.randn(3, 8, 8))

    y = routed_ffn(x, routing, weights, "relu", backend=backend)

    healthy = [True, True, False, True, True, True]
    assert y.isfinite().all(dim=-1).tolist() == ([False] * 6 if backend == "one_hot" else healthy)


def test_the_layer_is_the_formula_applied_to_its_own_routing() -> None:
    config = MoEConfig(router=RouterConfig(n_experts=5, top_k=2), d_ff=12, capacity_factor=1.0)
    moe = MoE.build(8, config).double()
    x = torch.randn(3, 7, 8, dtype=torch.float64)

    y, routing = moe(x)

    assert not routing.kept.all(), "the case must drop something to mean anything"
    expected = brute_force(x.flatten(0, 1), routing, moe.experts.weights, "swiglu")
    torch.testing.assert_close(y.flatten(0, 1), expected)


def test_silu_by_hand_is_silu() -> None:
    x = torch.randn(100, dtype=torch.float64)
    torch.testing.assert_close(x / (1 + torch.exp(-x)), F.silu(x))
