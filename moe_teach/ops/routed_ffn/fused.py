"""The whole work of the routed experts without a sorted copy of the tokens.

    lay out       which row every choice gets, and how many rows each expert has
    map           which expert owns which tile
    up            inner[n] = activation of expert e on x[token of row n]     gathered while loading
    down          y[n] = gates[t, k] * w_down[e] @ inner[n]                  weighed before storing
    collect       out[t] = sum over k of y[slot[t, k]]                       each token reads K rows

Five launches (six for many choices), and the host waits for none: grids are upper bounds, and the
number of rows is only known on the device, also where choices are dropped.

Saved for the backward pass besides what the caller holds anyway (x, gates, matrices): the inner
rows before the activation, 2 * T * K * F numbers for SwiGLU and T * K * F for the others, and 12
bytes per choice for its slot and its way back. Not saved: sorted copies of x or of its gradient,
the activation, the answers. That is the bound the papers on memory-saving backward passes reach
without computing the first half again.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.config import Activation
from moe_teach.ops.demand import demand_expert_ids
from moe_teach.ops.dispatch.layout import lay_out
from moe_teach.ops.fused_rows import collect
from moe_teach.ops.grouped_ffn.down import answers
from moe_teach.ops.grouped_ffn.down_backward import inner_gradients
from moe_teach.ops.grouped_ffn.fused import (
    demand_matrices,
    matrix_gradients,
    somebody_differentiates,
)
from moe_teach.ops.grouped_ffn.ragged import Ragged
from moe_teach.ops.grouped_ffn.up import inner_rows
from moe_teach.ops.grouped_ffn.up_backward import rows_gradient
from moe_teach.ops.grouped_mm.fused import demand_operands
from moe_teach.ops.precision import in_one_precision
from moe_teach.ops.routed_ffn.gate_gradient import gate_gradient
from moe_teach.ops.tile_product import with_whole_rows
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_triton(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Run every token through its experts, from its own row to its own row; differentiable once.

    On the CPU ids out of range are refused, as by the other backends. On a GPU they count as
    dropped, because looking for them would mean waiting.

    Raises:
        ValueError: for dtypes the kernels do not multiply, or tensors on the wrong device.
    """
    ids, n_experts = routing.expert_ids, routing.n_experts
    if ids.device.type == "cpu":
        demand_expert_ids(ids, n_experts)
    tokens, *matrices = in_one_precision(x, weights.w_up, weights.w_down, weights.w_gate)
    demand_matrices(*matrices, activation)
    demand_operands(x=tokens, w_up=weights.w_up, gates=routing.gates, expert_ids=ids)
    layout = lay_out(ids, n_experts, routing.kept)
    ends, slot = layout.dispatched.expert_offsets, layout.dispatched.slot
    leaves = (tokens, routing.gates, *matrices)
    keep = somebody_differentiates(*leaves)
    out = _RoutedFFN.apply(*leaves, ends, slot, layout.choice_idx, activation, keep)
    return out.to(x.dtype)


class _RoutedFFN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x, gates, w_up, w_down, w_gate, ends, slot, choice, activation, keep
    ) -> Tensor:
        ragged = _ragged(ends, choice, gates)
        inner, up, gate = inner_rows(x, w_up, w_gate, ragged, activation, keep=keep)
        saved = (x, gates, w_up, w_down, w_gate, ends, slot, choice, up, gate)
        ctx.save_for_backward(*saved)
        ctx.activation = activation
        return collect(answers(inner, w_down, ragged), slot)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, w_up, w_down, w_gate, ends, slot, choice, up, gate = ctx.saved_tensors
        dout = with_whole_rows(dout)  # once for both kernels that read it
        wants_x, wants_gates, *wants_matrices = ctx.needs_input_grad[:5]
        ragged = _ragged(ends, choice, gates)
        inner = inner_gradients(
            dout, w_down, up, gate, ragged, ctx.activation, wants_gates=wants_gates
        )
        dx, dgates = None, None
        if wants_x:
            dx = collect(rows_gradient(inner.dup, inner.dgate, w_up, w_gate, ragged), slot)
        if wants_gates:
            dgates = gate_gradient(inner.parts, slot, gates.dtype)
        matrices = matrix_gradients(x, dout, inner, ragged, wants_matrices)
        return dx, dgates, *matrices, *[None] * 5


def _ragged(ends: Tensor, choice: Tensor, gates: Tensor) -> Ragged:
    return Ragged(ends, len(choice), choice, gates.contiguous(), gates.shape[1])
