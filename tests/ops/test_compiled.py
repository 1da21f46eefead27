"""torch.compile gives the layer's own answer, and kernels are operators of a graph."""

import pytest
import torch
from torch import Tensor

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.moe import MoE
from moe_teach.ops.backends import using
from moe_teach.ops.route import route
from moe_teach.ops.routed_ffn import routed_ffn
from moe_teach.ops.triton_mode import mode
from moe_teach.types import ExpertWeights, Routing

pytestmark = pytest.mark.usefixtures("as_a_user", "fresh_compiler")
with_kernels = pytest.mark.skipif(mode() != "interpreted", reason="kernels are not interpreted")


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layer(dtype: torch.dtype = torch.float32) -> MoE:
    config = MoEConfig(router=RouterConfig(n_experts=8, top_k=2), d_ff=32)
    return MoE.build(16, config).to(dtype)


def gradients(y: Tensor, moe: MoE) -> list[Tensor]:
    return list(torch.autograd.grad(y.square().sum(), list(moe.parameters())))


@pytest.mark.parametrize("n_tokens", [2, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_compiled_layer_gives_the_answer_and_gradients_of_the_layer(dtype, n_tokens) -> None:
    moe, x = layer(dtype), torch.randn(n_tokens, 16, dtype=dtype)
    compiled = torch.compile(moe, backend="aot_eager")
    tolerance = {"rtol": 0.05, "atol": 0.05} if dtype == torch.bfloat16 else {}

    torch.testing.assert_close(compiled(x)[0], moe(x)[0], **tolerance)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x)[0], moe(x)[0], **tolerance)
    got, expected = gradients(compiled(x)[0], moe), gradients(moe(x)[0], moe)
    for one, other in zip(got, expected, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, atol=scale * tolerance.get("rtol", 1e-5), rtol=0)


def test_who_demands_one_graph_on_a_cpu_is_told_why_there_are_two() -> None:
    compiled = torch.compile(layer(), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="how many rows an expert has is known"):
        compiled(torch.randn(5, 16))


def test_the_router_is_one_graph_and_still_refuses_broken_logits() -> None:
    config = RouterConfig(n_experts=4, top_k=2, score_fn="sigmoid")
    bias = torch.randn(4) / 10
    compiled = torch.compile(
        lambda x, w: route(x, w, bias, config), backend="aot_eager", fullgraph=True
    )
    x, weight = torch.randn(5, 4), torch.randn(4, 4, requires_grad=True)
    got, expected = compiled(x, weight), route(x, weight, bias, config)

    assert torch.equal(got.expert_ids, expected.expert_ids)
    torch.testing.assert_close(got.gates, expected.gates)
    for one, other in zip(
        *(torch.autograd.grad(r.gates[:, 0].sum(), weight) for r in (got, expected)), strict=True
    ):
        torch.testing.assert_close(one, other)
    x[2, 1] = torch.inf
    with pytest.raises(ValueError, match="logits of 1 of 5 tokens are NaN or infinite"):
        compiled(x, torch.eye(4))


@with_kernels
def test_with_kernels_the_layer_is_one_graph() -> None:
    moe, x = layer(), torch.randn(5, 16)
    expected = moe(x)[0]
    wanted = gradients(expected, moe)
    with using(route="triton", routed_ffn="triton"):
        got = torch.compile(moe, backend="aot_eager", fullgraph=True)(x)[0]
    torch.testing.assert_close(got, expected)
    for one, other in zip(gradients(got, moe), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@with_kernels
def test_with_kernels_the_parts_are_one_graph_too() -> None:
    moe, x = layer(), torch.randn(5, 16)
    wanted = gradients(moe(x)[0], moe)
    kernels = dict.fromkeys(("route", "dispatch", "grouped_ffn", "combine"), "triton")
    with using(**kernels):
        got = torch.compile(moe, backend="aot_eager", fullgraph=True)(x)[0]
    for one, other in zip(gradients(got, moe), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def operands(operator: str) -> tuple:
    """Give arguments for an operator: 5 tokens, 3 experts, 2 of them for each, widths 4 and 6."""
    from moe_teach.ops.dispatch.layout import lay_out

    ids = torch.tensor([[0, 2], [2, 1], [0, 1], [2, 0], [1, 0]])
    found = lay_out(ids, 3)
    ends, slot, pair = found.dispatched.expert_offsets, found.dispatched.slot, found.pair_idx
    x, rows = torch.randn(5, 4, requires_grad=True), torch.randn(10, 4, requires_grad=True)
    gates = torch.rand(5, 2, requires_grad=True)
    w_up, w_gate = torch.randn(2, 3, 6, 4).requires_grad_().unbind()
    w_up, w_gate = (w.detach().requires_grad_() for w in (w_up, w_gate))
    w_down = torch.randn(3, 4, 6, requires_grad=True)
    inner = torch.randn(10, 6)
    detached = [t.detach() for t in (x, gates, w_up, w_down, w_gate)]
    return {
        "route": (x, torch.randn(3, 4), None, 2, "softmax", "sum", 1.0, None),
        "lay_out": (ids, 3, torch.rand(5, 2) < 0.5, None, None),
        "spread": (x, slot, 10),
        "collect": (rows, slot, gates),
        "combine_backward": (x.detach(), rows.detach(), gates.detach(), slot, [True, False]),
        "grouped_mm": (rows, w_up, ends),
        "weight_gradient": (rows.detach(), inner, ends),
        "grouped_ffn": (rows, w_up, w_down, w_gate, ends, "swiglu", True),
        "grouped_ffn_backward": (
            *(rows.detach(), rows.detach(), *detached[2:], ends, inner, inner),
            *("swiglu", [True, True, False, True]),
        ),
        "routed_ffn": (x, gates, w_up, w_down, None, ends, slot, pair, "gelu", True),
        "routed_ffn_backward": (
            *(detached[0], *detached, ends, slot, pair, inner, inner),
            *("swiglu", [True, True, True, False, True]),
        ),
    }[operator]


OPERATORS = (
    *("route", "lay_out", "spread", "collect", "combine_backward", "grouped_mm"),
    *("weight_gradient", "grouped_ffn", "grouped_ffn_backward"),
    *("routed_ffn", "routed_ffn_backward"),
)


@with_kernels
@pytest.mark.parametrize("operator", OPERATORS)
def test_torch_finds_nothing_wrong_with_an_operator(operator: str) -> None:
    """Its schema, its rule for shapes, and its gradient, as torch itself checks them."""
    import moe_teach.ops.grouped_mm.fused
    import moe_teach.ops.route.fused
    import moe_teach.ops.routed_ffn.fused  # noqa: F401  (importing registers)

    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(
        getattr(torch.ops.moe_teach, operator).default, operands(operator), test_utils=tests
    )


@with_kernels
def test_a_step_by_step_call_and_a_graph_share_their_gradients() -> None:
    ids = torch.tensor([[0, 2], [2, 1], [0, 1]])
    blank, x = torch.zeros(3, 3), torch.randn(3, 4, requires_grad=True)
    routing = Routing(blank, blank, torch.rand(3, 2), ids)
    weights = ExpertWeights(torch.randn(3, 6, 4), torch.randn(3, 4, 6), torch.randn(3, 6, 4))

    def run(x: Tensor) -> Tensor:
        return routed_ffn(x, routing, weights, "swiglu", backend="triton")

    (expected,) = torch.autograd.grad(run(x).sum(), x)
    (got,) = torch.autograd.grad(
        torch.compile(run, backend="aot_eager", fullgraph=True)(x).sum(), x
    )
    torch.testing.assert_close(got, expected)
