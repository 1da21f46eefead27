"""All experts in one batched matmul, every slice padded to the busiest expert's length.

It computes rows that nobody asked for, and still wins where single matmuls are too small to be
worth their call, or where their library packs its operands anew each time (bfloat16 on a CPU).
"""

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import expert_ffn
from moe_teach.types import ExpertWeights


def grouped_ffn_padded(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Lay the slices side by side in a block of zeros, compute the block, take the rows back."""
    ends = expert_offsets.long()
    counts = torch.diff(ends, prepend=ends.new_zeros(1))
    length = int(counts.max())
    expert = torch.repeat_interleave(counts)  # (N,) whose row it is
    position = torch.arange(len(rows), device=rows.device) - (ends - counts)[expert]
    cell = expert * length + position  # (N,) where the row stands in the block
    block = rows.new_zeros(len(counts) * length, rows.shape[1]).index_copy(0, cell, rows)
    block = block.view(len(counts), length, rows.shape[1])
    y = expert_ffn(block, weights.w_up, weights.w_down, weights.w_gate, activation)
    return y.flatten(0, 1).index_select(0, cell)
