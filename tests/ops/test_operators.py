"""The kernels as operators of torch: schema, shapes and gradients, as torch itself checks them."""

import pytest
import torch

from moe_teach.ops.triton_mode import mode

if mode() != "interpreted":
    pytest.skip("kernels are not interpreted", allow_module_level=True)

import moe_teach.ops.dispatch.fused
import moe_teach.ops.grouped_mm.fused
import moe_teach.ops.route.fused
import moe_teach.ops.routed_ffn.fused  # noqa: F401  (importing registers)
from moe_teach.ops.dispatch.layout import lay_out


def operands(operator: str) -> tuple:
    """Give arguments for an operator: 5 tokens, 3 experts, 2 of them for each, widths 4 and 6."""
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
        "kept_rows": (torch.arange(10), torch.tensor([2, 2, 7], dtype=torch.int32)),
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
    *("route", "lay_out", "kept_rows", "spread", "collect", "combine_backward", "grouped_mm"),
    *("weight_gradient", "grouped_ffn", "grouped_ffn_backward"),
    *("routed_ffn", "routed_ffn_backward"),
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_torch_finds_nothing_wrong_with_an_operator(operator: str) -> None:
    """Its schema, its rule for shapes, and its gradient, as torch itself checks them."""
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(
        getattr(torch.ops.moe_teach, operator).default, operands(operator), test_utils=tests
    )
