"""Five ways to run every token through its experts, in the order in which chapter 04 builds them.

They give one answer. Each is written to be read beside the others, and needs nothing but torch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.activation import expert_ffn, unbind
from moe_teach.ops.demand import demand_expert_ids, demand_no_biases
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.ops.grouped_ffn import Backend, grouped_ffn
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_loop(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Find each expert's tokens with a mask, and add its gated answer to them: E masks."""
    demand_expert_ids(routing.expert_ids, routing.n_experts)
    out = torch.zeros_like(x, dtype=routing.gates.dtype)
    for expert, matrices in enumerate(unbind(weights)):
        is_mine = routing.expert_ids == expert  # (T, K)
        if routing.kept is not None:
            is_mine = is_mine & routing.kept
        token, choice = torch.where(is_mine)
        answer = expert_ffn(x[token], *matrices, activation)
        out = out.index_add(0, token, routing.gates[token, choice, None] * answer)
    return out.to(x.dtype)


def routed_ffn_one_hot(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Multiply by a (T, E, C) tensor to get to the experts, and by another to come back.

    Dispatch and combine are einsums with one-hot tensors (GShard, arXiv 2006.16668, algorithm 2).
    Every step is a dense product of fixed shape, which is what the accelerators of 2020 wanted.
    Most of the numbers multiplied are zeros, and zero times NaN is NaN: one poisoned token poisons
    all.
    """
    demand_no_biases(weights)
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


def routed_ffn_padded(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Pad every expert's rows with zeros up to the busiest one's; one batched matmul serves all."""
    return routed_ffn_grouped(x, routing, weights, activation, ffn="padded")


def routed_ffn_sorted(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> Tensor:
    """Sort the choices by expert once; then every expert's tokens are one slice."""
    rows, dispatched = dispatch(x, routing)
    slices = rows.split(dispatched.tokens_per_expert.tolist())
    answers = [
        expert_ffn(own, *matrices, activation)
        for own, matrices in zip(slices, unbind(weights), strict=True)
    ]
    return combine(torch.cat(answers), routing.gates, dispatched).to(x.dtype)


def routed_ffn_grouped(
    x: Tensor,
    routing: Routing,
    weights: ExpertWeights,
    activation: Nonlinearity,
    ffn: Backend = "composed",
) -> Tensor:
    """Sort the choices by expert once; then three grouped matmuls serve all experts.

    `moe_teach.nn.moe.MoE` does the same without naming `ffn`: in the fastest way on the device.
    """
    rows, dispatched = dispatch(x, routing)
    y = grouped_ffn(rows, dispatched.expert_offsets, weights, activation, backend=ffn)
    return combine(y, routing.gates, dispatched).to(x.dtype)


FIVE_WAYS = {
    "loop": routed_ffn_loop,
    "one_hot": routed_ffn_one_hot,
    "padded": routed_ffn_padded,
    "sorted": routed_ffn_sorted,
    "grouped": routed_ffn_grouped,
}
"""By the names that `moe_teach.ops.routed_ffn` knows them by."""
