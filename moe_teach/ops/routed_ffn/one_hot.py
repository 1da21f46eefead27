"""Dispatch and combine as einsums with one-hot tensors (GShard, arXiv 2006.16668, algorithm 2).

Every step is a dense product of fixed shape, which is what the accelerators of 2020 wanted. Most
of the numbers multiplied are zeros, and zero times NaN is NaN: one poisoned token poisons all.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import expert_ffn
from moe_teach.ops.dispatch import dispatch
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_one_hot(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Multiply by a (T, E, C) tensor to get to the experts, and by another to come back."""
    expert, position = (one_hot.to(x.dtype) for one_hot in _place(x, routing))
    dispatch_mask = torch.einsum("tke,tkc->tec", expert, position)
    combine_weights = torch.einsum("tk,tke,tkc->tec", routing.gates.to(x.dtype), expert, position)

    expert_rows = torch.einsum("tec,td->ecd", dispatch_mask, x)
    y = expert_ffn(expert_rows, weights.w_up, weights.w_down, weights.w_gate, activation)
    return torch.einsum("tec,ecd->td", combine_weights.to(y.dtype), y).to(x.dtype)


def _place(x: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """Return, one-hot, the expert (T, K, E) of every choice and its position there (T, K, C)."""
    _, dispatched = dispatch(x, routing)
    counts = dispatched.tokens_per_expert
    capacity = max(int(counts.max()), 1)  # the busiest expert's rows: nothing is dropped here
    starts = dispatched.expert_offsets - counts
    is_kept = dispatched.slot >= 0
    position = (dispatched.slot - starts[routing.expert_ids]).where(is_kept, 0)
    # A dropped choice has no position: its row is all zeros and so vanishes from every product.
    return (
        F.one_hot(routing.expert_ids.long(), routing.n_experts),
        F.one_hot(position.long(), capacity) * is_kept[..., None],
    )
