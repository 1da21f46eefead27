"""Give every expert a block of equal size, so that one batched matmul serves them all."""

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import expert_ffn
from moe_teach.ops.combine import combine
from moe_teach.ops.dispatch import dispatch
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_padded(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Pad every expert's rows with zeros up to the busiest expert's count."""
    rows, dispatched = dispatch(x, routing)
    counts = dispatched.tokens_per_expert
    capacity = int(counts.max())
    starts = dispatched.expert_offsets - counts

    expert = torch.repeat_interleave(counts)  # (N,) the expert of each row
    position = torch.arange(len(rows), device=x.device) - starts[expert]
    cell = expert * capacity + position  # (N,) where the row stands in the padded block
    block = rows.new_zeros(len(counts) * capacity, x.shape[-1]).index_copy(0, cell, rows)

    block = block.view(len(counts), capacity, x.shape[-1])
    y = expert_ffn(block, weights.w_up, weights.w_down, weights.w_gate, activation)
    return combine(y.flatten(0, 1)[cell], routing.gates, dispatched).to(x.dtype)
