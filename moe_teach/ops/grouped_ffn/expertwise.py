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

from moe_teach.config import Nonlinearity
from moe_teach.ops.activation import activate, activation_backward
from moe_teach.ops.demand import demand_no_biases
from moe_teach.types import ExpertWeights


def rows_of_each(expert_offsets: Tensor) -> list[int]:
    """Tell how many rows each expert has; on a GPU this waits for the device."""
    ends = expert_offsets.tolist()
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def grouped_ffn_expertwise(
    rows: Tensor,
    expert_offsets: Tensor,
    weights: ExpertWeights,
    activation: Nonlinearity,
    counts: list[int] | None = None,
) -> Tensor:
    """Run each expert from its rows to its answers; differentiable once."""
    demand_no_biases(weights)
    inputs = (rows, weights.w_up, weights.w_down, weights.w_gate)
    counts = rows_of_each(expert_offsets) if counts is None else counts
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        return _ExpertwiseFFN.apply(*inputs, counts, activation)
    return _forward(*inputs, counts, activation)


def _shares(
    counts: list[int], row_wise: tuple[Tensor | None, ...], fused: tuple[Tensor | None, ...]
) -> Iterator[tuple[Tensor | None, ...]]:
    """Give each expert that has rows its slices of row-wise tensors and its part of fused ones."""
    # Split once for all experts: a view made alone, cold, costs as much as a small activation.
    absent = (None,) * len(counts)
    parts = [absent if tensor is None else tensor.split(counts) for tensor in row_wise]
    parts += [absent if tensor is None else tensor.unbind() for tensor in fused]
    return (own for count, *own in zip(counts, *parts, strict=True) if count)


def _forward(rows, w_up, w_down, w_gate, counts, activation, up=None, gate=None) -> Tensor:
    """Compute the answers; write the inner rows before the activation to `up` and `gate`."""
    y = torch.empty_like(rows)
    matrices = (w_up.mT, w_down.mT, None if w_gate is None else w_gate.mT)
    for x, up_own, gate_own, y_own, to_up, to_down, to_gate in _shares(
        counts, (rows, up, gate, y), matrices
    ):
        up_own = torch.mm(x, to_up, out=up_own)
        if to_gate is not None:
            gate_own = torch.mm(x, to_gate, out=gate_own)
        torch.mm(activate(up_own, gate_own, activation), to_down, out=y_own)
    return y


class _ExpertwiseFFN(torch.autograd.Function):
    """Forward keeps the inner rows before the activation; backward computes it again."""

    @staticmethod
    def forward(ctx, rows, w_up, w_down, w_gate, counts, activation) -> Tensor:
        up = rows.new_empty(len(rows), w_up.shape[1])
        gate = None if w_gate is None else torch.empty_like(up)
        y = _forward(rows, w_up, w_down, w_gate, counts, activation, up, gate)
        ctx.save_for_backward(rows, w_up, w_down, w_gate, up, gate)
        ctx.counts, ctx.activation = counts, activation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, w_up, w_down, w_gate, up, gate = ctx.saved_tensors
        # An expert without rows is not visited below, and its gradient is zero.
        empty = torch.empty_like if all(ctx.counts) else torch.zeros_like
        wanted = zip((rows, w_up, w_down, w_gate), ctx.needs_input_grad[:4], strict=True)
        gradients = [
            empty(x, memory_format=torch.contiguous_format) if x is not None and want else None
            for x, want in wanted
        ]
        row_wise = (dy, rows, up, gate, gradients[0])
        for own in _shares(ctx.counts, row_wise, (w_up, w_down, w_gate, *gradients[1:])):
            _one_backward(*own, ctx.activation)
        return *gradients, None, None


def _one_backward(
    dy, x, up, gate, dx, w_up, w_down, w_gate, dw_up, dw_down, dw_gate, activation
) -> None:
    """Write the gradients of one expert to those of `dx` and `dw_...` that are wanted."""
    inner, dup, dgate = activation_backward(torch.mm(dy, w_down), up, gate, activation)
    if dw_down is not None:
        torch.mm(dy.t(), inner, out=dw_down)
    if dw_up is not None:
        torch.mm(dup.t(), x, out=dw_up)
    if dw_gate is not None:
        torch.mm(dgate.t(), x, out=dw_gate)
    if dx is not None:
        torch.mm(dup, w_up, out=dx)
        if dgate is not None:
            dx.addmm_(dgate, w_gate)
