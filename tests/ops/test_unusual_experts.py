"""Experts that the kernels do not know: other activations, biases, gates on inputs, identity."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from moe_teach.config import BoundedSwiGLU, MoEConfig, RouterConfig, is_gated
from moe_teach.nn.moe import FusedMoE, MoE
from moe_teach.ops import operation
from moe_teach.ops.backends import OPERATIONS, explain, using
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.ops.mixing import gates_of_rows, without_identity
from moe_teach.ops.routed_ffn import ROUTED_FFN, routed_ffn
from moe_teach.ops.triton_mode import mode
from moe_teach.types import ExpertWeights, Routing

ACTIVATIONS = ("geglu", "relu2", BoundedSwiGLU(0.7, 1.702, 1.0), BoundedSwiGLU(0.7))
INNER = ("expertwise", "padded", "composed")
WITHOUT_BIASES = ("loop", "one_hot", "padded", "sorted", "each")


def names(activation: object) -> str:
    return activation if isinstance(activation, str) else f"bounded-{activation.alpha}"


every_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=names)


def experts(activation: object, biases: bool, dtype: torch.dtype = torch.float64) -> dict:
    """Draw E = 4 experts of widths D = 6 and F = 5, ready to be differentiated."""
    sizes = {"w_up": (4, 5, 6), "w_down": (4, 6, 5)}
    if is_gated(activation):
        sizes["w_gate"] = (4, 5, 6)
    if biases:
        vectors = {f"b_{name[2:]}": shape[:2] for name, shape in sizes.items()}
        sizes |= vectors
    return {
        name: torch.randn(*shape, dtype=dtype).requires_grad_() for name, shape in sizes.items()
    }


def inner(up: Tensor, gate: Tensor | None, activation: object) -> Tensor:
    """The activation once more, number by number."""
    if activation in ("relu", "relu2"):
        return torch.where(up > 0, up if activation == "relu" else up * up, 0 * up)
    if activation == "swiglu":
        return up * gate / (1 + torch.exp(-gate))
    if activation == "geglu":
        curve = torch.tanh((2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3))
        return up * gate * (1 + curve) / 2
    limit = torch.tensor(activation.limit, dtype=up.dtype)
    gate, up = torch.minimum(gate, limit), torch.maximum(torch.minimum(up, limit), -limit)
    return gate / (1 + torch.exp(-activation.alpha * gate)) * (up + activation.shift)


def one_by_one(rows: Tensor, ends: Tensor, weights: ExpertWeights, activation: object) -> Tensor:
    """Every row through the expert that owns it."""

    def mapped(x: Tensor, w: Tensor, b: Tensor | None, e: int) -> Tensor:
        return w[e] @ x if b is None else w[e] @ x + b[e]

    out = []
    for n, row in enumerate(rows):
        e = int((ends <= n).sum())
        up = mapped(row, weights.w_up, weights.b_up, e)
        has_gate = weights.w_gate is not None
        gate = mapped(row, weights.w_gate, weights.b_gate, e) if has_gate else None
        out.append(mapped(inner(up, gate, activation), weights.w_down, weights.b_down, e))
    return torch.stack(out)


def assert_same(function, oracle, leaves: dict[str, Tensor]) -> None:
    """Compare answers and all gradients with those of the oracle."""
    y, expected = function(), oracle()
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    found = torch.autograd.grad(y, list(leaves.values()), dy)
    wanted = torch.autograd.grad(expected, list(leaves.values()), dy)
    for name, mine, right in zip(leaves, found, wanted, strict=True):
        torch.testing.assert_close(mine, right, msg=lambda text, name=name: f"{name}: {text}")


ENDS = {"ragged": [2, 2, 7, 8], "one-row": [0, 0, 1, 1], "one-expert-has-all": [0, 9, 9, 9]}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("backend", INNER)
@every_activation
def test_every_torch_way_knows_every_activation(activation, backend: str, ends: list[int]) -> None:
    leaves = experts(activation, biases=False)
    weights = ExpertWeights(**leaves)
    ends = torch.tensor(ends, dtype=torch.int32)
    rows = torch.randn(int(ends[-1]), 6, dtype=torch.float64, requires_grad=True)
    run = partial(grouped_ffn, rows, ends, weights, activation)
    assert_same(
        partial(run, backend=backend),
        partial(one_by_one, rows, ends, weights, activation),
        leaves | {"rows": rows},
    )
    with torch.no_grad():  # where swiglu writes over its gate
        torch.testing.assert_close(
            run(backend=backend), one_by_one(rows, ends, weights, activation)
        )


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("activation", ["swiglu", "relu", *ACTIVATIONS], ids=names)
def test_biases_are_added_to_the_rows_of_their_own_expert(activation, ends: list[int]) -> None:
    leaves = experts(activation, biases=True)
    weights = ExpertWeights(**leaves)
    ends = torch.tensor(ends, dtype=torch.int32)
    rows = torch.randn(int(ends[-1]), 6, dtype=torch.float64, requires_grad=True)
    assert_same(
        partial(grouped_ffn, rows, ends, weights, activation),
        partial(one_by_one, rows, ends, weights, activation),
        leaves | {"rows": rows},
    )


def test_no_rows_give_no_answers_with_biases() -> None:
    weights = ExpertWeights(**experts("swiglu", biases=True))
    rows, ends = torch.empty(0, 6, dtype=torch.float64), torch.zeros(4, dtype=torch.int32)
    assert grouped_ffn(rows, ends, weights, "swiglu").shape == (0, 6)


def a_routing(n_tokens: int = 9, n_experts: int = 4, top_k: int = 2) -> Routing:
    probs = torch.rand(n_tokens, n_experts, dtype=torch.float64)
    gates, ids = probs.topk(top_k)
    return Routing(probs.log(), probs, gates.requires_grad_(), ids, torch.rand(gates.shape) > 0.2)


def mixed(x: Tensor, routing: Routing, weights: ExpertWeights, activation: object) -> Tensor:
    """The sum over the kept choices, each of which is asked alone."""
    out = []
    for t, row in enumerate(x):
        total = 0 * row
        for k, e in enumerate(routing.expert_ids[t].tolist()):
            if routing.kept[t, k]:
                ends = (torch.arange(4) >= e).int()
                answer = one_by_one(row[None], ends, weights, activation)[0]
                total = total + routing.gates[t, k] * answer
        out.append(total)
    return torch.stack(out)


@pytest.mark.parametrize("backend", [b for b in ROUTED_FFN.backends if b != "triton"])
@every_activation
def test_every_way_of_the_whole_knows_every_activation(activation, backend: str) -> None:
    leaves = experts(activation, biases=False)
    weights, routing = ExpertWeights(**leaves), a_routing()
    x = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    assert_same(
        partial(routed_ffn, x, routing, weights, activation, backend=backend),
        partial(mixed, x, routing, weights, activation),
        leaves | {"x": x, "gates": routing.gates},
    )


@pytest.mark.parametrize("backend", [None, "parts", "grouped"])
def test_biases_go_with_their_experts(backend: str | None) -> None:
    leaves = experts("swiglu", biases=True)
    weights, routing = ExpertWeights(**leaves), a_routing()
    x = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    assert_same(
        partial(routed_ffn, x, routing, weights, "swiglu", backend=backend),
        partial(mixed, x, routing, weights, "swiglu"),
        leaves | {"x": x, "gates": routing.gates},
    )


@pytest.mark.parametrize("backend", WITHOUT_BIASES)
def test_a_way_that_would_lose_the_biases_says_so(backend: str) -> None:
    weights, routing = ExpertWeights(**experts("swiglu", biases=True)), a_routing()
    x = torch.randn(9, 6, dtype=torch.float64)
    with torch.no_grad(), pytest.raises(ValueError, match="does not add the biases of experts"):
        routed_ffn(x, routing, weights, "swiglu", backend=backend)


@pytest.mark.parametrize("backend", ["expertwise", "padded"])
def test_a_way_of_the_parts_that_would_lose_the_biases_says_so(backend: str) -> None:
    weights = ExpertWeights(**experts("relu", biases=True))
    rows, ends = torch.randn(4, 6, dtype=torch.float64), torch.tensor([1, 2, 3, 4])
    with pytest.raises(ValueError, match="does not add the biases of experts"):
        grouped_ffn(rows, ends, weights, "relu", backend=backend)


class OnGPU(Tensor):
    """Claims to stand on a GPU, which is all that is asked of it here."""

    is_cuda = True


def picked(weights: ExpertWeights, activation: object) -> tuple[str, str]:
    """Name the ways of the whole and of the experts for rows on a GPU."""
    rows = torch.zeros(2, 6).as_subclass(OnGPU)
    ends = torch.tensor([1, 1, 2, 2])
    whole, _ = OPERATIONS["routed_ffn"].decide(rows, a_routing(2), weights, activation)
    inner, _ = OPERATIONS["grouped_ffn"].decide(rows, ends, weights, activation)
    return whole, inner


def test_on_a_gpu_the_kernels_get_what_they_know_and_nothing_else(monkeypatch) -> None:
    monkeypatch.setattr(operation, "kernels_compile", lambda: True)
    for activation in ("swiglu", "gelu", "relu"):
        plain = ExpertWeights(**experts(activation, biases=False, dtype=torch.float32))
        assert picked(plain, activation) == ("triton", "triton")
    for activation in ACTIVATIONS:
        plain = ExpertWeights(**experts(activation, biases=False, dtype=torch.float32))
        whole, inner = picked(plain, activation)
        assert whole == "parts" and inner in INNER
    biased = ExpertWeights(**experts("swiglu", biases=True, dtype=torch.float32))
    assert picked(biased, "swiglu") == ("parts", "composed")


@pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")
@pytest.mark.parametrize("activation", ["swiglu", *ACTIVATIONS], ids=names)
def test_what_the_kernels_leave_out_is_put_between_their_products(activation) -> None:
    """On a GPU the products of the composed way are kernels; here they are interpreted."""
    leaves = experts(activation, biases=activation == "swiglu", dtype=torch.float32)
    weights, ends = ExpertWeights(**leaves), torch.tensor([2, 2, 5, 6], dtype=torch.int32)
    rows = torch.randn(6, 6, requires_grad=True)
    with using(grouped_mm="triton"):
        assert_same(
            partial(grouped_ffn, rows, ends, weights, activation),
            partial(one_by_one, rows, ends, weights, activation),
            leaves | {"rows": rows},
        )


@pytest.mark.skipif(mode() == "absent", reason="Triton is not installed")
def test_the_kernels_refuse_what_they_would_compute_otherwise() -> None:
    rows, ends = torch.randn(4, 6), torch.tensor([1, 2, 3, 4], dtype=torch.int32)
    biased = ExpertWeights(**experts("swiglu", biases=True, dtype=torch.float32))
    with pytest.raises(ValueError, match="does not add the biases of experts"):
        grouped_ffn(rows, ends, biased, "swiglu", backend="triton")
    bounded = BoundedSwiGLU(7.0)
    plain = ExpertWeights(**experts(bounded, biases=False, dtype=torch.float32))
    routing = replace(a_routing(4), gates=torch.rand(4, 2))
    for activation in (bounded, "geglu"):
        with pytest.raises(ValueError, match="kernels compute swiglu, gelu, relu, and not"):
            grouped_ffn(rows, ends, plain, activation, backend="triton")
        with pytest.raises(ValueError, match="kernels compute swiglu, gelu, relu, and not"):
            routed_ffn(rows, routing, plain, activation, backend="triton")


def test_under_autocast_biases_are_rounded_with_the_matrices() -> None:
    leaves = experts("swiglu", biases=True, dtype=torch.float32)
    weights, x = ExpertWeights(**leaves), torch.randn(9, 6)
    routing = a_routing()
    routing = replace(routing, gates=routing.gates.detach().float())
    exact = routed_ffn(x, routing, weights, "swiglu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = routed_ffn(x, routing, weights, "swiglu")
    torch.testing.assert_close(rounded, exact, atol=8e-2, rtol=5e-2)


def test_each_row_gets_the_gate_of_its_choice() -> None:
    x, routing = torch.randn(9, 6, dtype=torch.float64), a_routing()
    _, dispatched = OPERATIONS["dispatch"](x, routing)
    gates = gates_of_rows(routing.gates, dispatched)
    for t, k in torch.nonzero(routing.kept).tolist():
        assert gates[dispatched.slot[t, k]] == routing.gates[t, k]
    gates.sum().backward()
    assert torch.equal(routing.gates.grad, routing.kept.double())


def test_experts_that_give_back_leave_the_others_alone() -> None:
    routing = a_routing(n_experts=6)
    others, returned = without_identity(routing, 2)
    assert others.n_experts == 4 and int(others.expert_ids.max()) < 4
    for t in range(9):
        ids, kept = routing.expert_ids[t], routing.kept[t]
        assert torch.equal(others.kept[t], kept & (ids < 4))
        assert returned[t] == routing.gates[t][kept & (ids >= 4)].sum()
    everyone, _ = without_identity(replace(routing, kept=None), 2)
    assert torch.equal(everyone.kept, routing.expert_ids < 4)


LAYERS = {
    "gates on inputs": {"gates_on": "input"},
    "identity": {"n_identity_experts": 2},
    "identity and gates on inputs": {"n_identity_experts": 2, "gates_on": "input"},
    "gates on inputs, some dropped": {"gates_on": "input", "capacity_factor": 0.8},
    "identity, some dropped": {"n_identity_experts": 2, "capacity": 3},
    "biases": {"bias": True},
    "gated shared expert": {"n_shared_experts": 2, "shared_gate": True},
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_fused_layer_is_the_layer(name: str) -> None:
    router = RouterConfig(n_experts=6, top_k=2, bias=name == "biases")
    config = MoEConfig(router=router, d_ff=10, **LAYERS[name])
    plain, fused = MoE.build(8, config).double(), FusedMoE.build(8, config).double()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter)
    fused.load_state_dict(plain.state_dict())
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    for layer in (plain, fused):
        layer(x)[0].square().sum().backward()
    torch.testing.assert_close(fused(x)[0], plain(x)[0])
    for mine, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_the_reason_is_told() -> None:
    config = MoEConfig(router=RouterConfig(n_experts=6, top_k=2), d_ff=10, bias=True)
    told = "\n".join(map(str, explain(FusedMoE.build(8, config), torch.randn(5, 8))))
    assert "routed_ffn: parts, because the biases of experts are added in one of its parts" in told
    assert "grouped_ffn: composed, because the other ways do not add the biases" in told
