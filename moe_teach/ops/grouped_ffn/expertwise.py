"""The fast path of the CPU: one expert after the other, with a backward pass written out.

Three grouped matmuls send every inner row through main memory, and so does each step of the
activation between them. One expert's inner rows fit in a core's cache: finish one expert before
the next begins, and most of that traffic is gone. The backward pass writes each expert's weight
gradients in place, where autograd would first make a full fused tensor for each.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.config import Activation
from moe_teach.ops.activation import activate, activation_backward
from moe_teach.types import ExpertWeights


def grouped_ffn_expertwise(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Run each expert from its rows to its answers; differentiable once."""
    inputs = (rows, weights.w_up, weights.w_down, weights.w_gate)
    ends = expert_offsets.tolist()
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return _ExpertwiseFFN.apply(*inputs, ends, activation)
    return _forward(*inputs, ends, activation)


def _shares(ends: list[int]) -> Iterator[tuple[int, slice]]:
    """Give each expert that has rows, with the slice of them."""
    for expert, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if end > start:
            yield expert, slice(start, end)


def _forward(rows, w_up, w_down, w_gate, ends, activation, up=None, gate=None) -> Tensor:
    """Compute the answers; write the inner rows before the activation to `up` and `gate`."""
    y = torch.empty_like(rows)
    for expert, own in _shares(ends):
        up_own = torch.mm(rows[own], w_up[expert].T, out=None if up is None else up[own])
        gate_own = None
        if w_gate is not None:
            gate_own = torch.mm(
                rows[own], w_gate[expert].T, out=None if gate is None else gate[own]
            )
        torch.mm(activate(up_own, gate_own, activation), w_down[expert].T, out=y[own])
    return y


class _ExpertwiseFFN(torch.autograd.Function):
    """Forward keeps the inner rows before the activation; backward computes it again."""

    @staticmethod
    def forward(ctx, rows, w_up, w_down, w_gate, ends, activation) -> Tensor:
        up = rows.new_empty(len(rows), w_up.shape[1])
        gate = None if w_gate is None else torch.empty_like(up)
        y = _forward(rows, w_up, w_down, w_gate, ends, activation, up, gate)
        ctx.save_for_backward(rows, w_up, w_down, w_gate, up, gate)
        ctx.ends, ctx.activation = ends, activation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, w_up, w_down, w_gate, up, gate = ctx.saved_tensors
        # An expert without rows is not visited below, and its gradient is zero.
        busy = len(list(_shares(ctx.ends))) == len(ctx.ends)
        empty = torch.empty_like if busy else torch.zeros_like
        wanted = zip((rows, w_up, w_down, w_gate), ctx.needs_input_grad[:4], strict=True)
        drows, dw_up, dw_down, dw_gate = (
            empty(x, memory_format=torch.contiguous_format) if x is not None and want else None
            for x, want in wanted
        )
        for expert, own in _shares(ctx.ends):
            dinner = torch.mm(dy[own], w_down[expert])
            gate_own = None if gate is None else gate[own]
            inner, dup, dgate = activation_backward(dinner, up[own], gate_own, ctx.activation)
            if dw_down is not None:
                torch.mm(dy[own].T, inner, out=dw_down[expert])
            if dw_up is not None:
                torch.mm(dup.T, rows[own], out=dw_up[expert])
            if dw_gate is not None:
                torch.mm(dgate.T, rows[own], out=dw_gate[expert])
            if drows is not None:
                torch.mm(dup, w_up[expert], out=drows[own])
                if dgate is not None:
                    drows[own].addmm_(dgate, w_gate[expert])
        return drows, dw_up, dw_down, dw_gate, None, None
