"""All experts in one batched matmul, every slice padded to the busiest expert's length.

It computes rows that nobody asked for, and still wins where single matmuls are too small to be
worth their call, or where their library packs its operands anew each time (bfloat16 on a CPU).
The backward pass is written out because autograd would form the transpose of each weight
gradient, and laying a fused tensor out again costs as much as the matmul that made it.
"""

from itertools import accumulate

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.config import Nonlinearity
from moe_teach.ops.activation import activate, activation_backward
from moe_teach.ops.demand import demand_no_biases
from moe_teach.ops.grouped_ffn.expertwise import rows_of_each
from moe_teach.types import ExpertWeights


def grouped_ffn_padded(
    rows: Tensor,
    expert_offsets: Tensor,
    weights: ExpertWeights,
    activation: Nonlinearity,
    counts: list[int] | None = None,
) -> Tensor:
    """Lay the slices side by side in a block of zeros, compute the block, take the rows back."""
    demand_no_biases(weights)
    counts = rows_of_each(expert_offsets) if counts is None else counts
    matrices = (weights.w_up, weights.w_down, weights.w_gate)
    return _PaddedFFN.apply(rows, *matrices, _cells(counts, rows.device), max(counts), activation)


def _cells(counts: list[int], device: torch.device) -> Tensor:
    """Say where each row (N,) stands in the block, whose slices are as long as the longest."""
    starts = [0, *accumulate(counts[:-1])]
    shifts = [expert * max(counts) - start for expert, start in enumerate(starts)]
    shift, count = torch.tensor([shifts, counts], device=device)
    rows = torch.arange(sum(counts), device=device)
    return rows.add_(shift.repeat_interleave(count, output_size=len(rows)))


def _block(rows: Tensor, cell: Tensor, n_experts: int, length: int) -> Tensor:
    """Lay rows (N, D) out as (E, length, D), with zeros where an expert has fewer."""
    block = rows.new_zeros(n_experts * length, rows.shape[1])
    return block.index_copy_(0, cell, rows).view(n_experts, length, rows.shape[1])


class _PaddedFFN(torch.autograd.Function):
    """Forward keeps the inner rows before the activation; backward computes it again."""

    @staticmethod
    def forward(ctx, rows, w_up, w_down, w_gate, cell, length, activation) -> Tensor:
        block = _block(rows, cell, len(w_up), length)
        up = torch.bmm(block, w_up.mT)
        gate = None if w_gate is None else torch.bmm(block, w_gate.mT)
        y = torch.bmm(activate(up, gate, activation), w_down.mT)
        ctx.save_for_backward(block, w_up, w_down, w_gate, up, gate, cell)
        ctx.activation = activation
        return y.flatten(0, 1).index_select(0, cell)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        block, w_up, w_down, w_gate, up, gate, cell = ctx.saved_tensors
        dy = _block(dy, cell, *block.shape[:2])
        dinner = torch.bmm(dy, w_down)
        inner, dup, dgate = activation_backward(dinner, up, gate, ctx.activation)
        wants_rows, wants_up, wants_down, wants_gate = ctx.needs_input_grad[:4]
        drows = None
        if wants_rows:
            drows = torch.bmm(dup, w_up)
            if dgate is not None:
                drows.baddbmm_(dgate, w_gate)
            drows = drows.flatten(0, 1).index_select(0, cell)
        dw_up = torch.bmm(dup.mT, block) if wants_up else None
        dw_down = torch.bmm(dy.mT, inner) if wants_down else None
        dw_gate = torch.bmm(dgate.mT, block) if wants_gate else None
        return drows, dw_up, dw_down, dw_gate, None, None, None
