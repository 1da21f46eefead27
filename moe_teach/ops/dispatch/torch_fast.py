"""Dispatch by one stable sort: no loop over experts, no mask per expert."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.ops.demand import count_ids
from moe_teach.ops.gather_sum import gather_sum
from moe_teach.types import Dispatched, Routing

_FEW = 256  # choices that are faster sorted twice than numbered and scattered


def dispatch_torch(x: Tensor, routing: Routing) -> tuple[Tensor, Dispatched]:
    """Sort all T * K choices by expert; a stable sort keeps each expert's tokens in order."""
    n_experts, top_k = routing.n_experts, routing.top_k
    chosen = routing.expert_ids.flatten()
    counts = count_ids(chosen, n_experts)
    if routing.kept is not None:
        # Dropped choices get the number after the last expert, so that they sort to the end.
        chosen = chosen.masked_fill(~routing.kept.flatten(), n_experts)
        counts = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts]

    offsets = counts.cumsum(0, dtype=torch.int32)
    order, slot = _in_order(chosen, n_experts)
    if routing.kept is not None:
        n_rows = int(offsets[-1])
        order, slot = order[:n_rows], slot.masked_fill(slot >= n_rows, -1)
    token_idx, slot = order // top_k, slot.view(-1, top_k)
    learns = torch.is_grad_enabled()
    rows = _Gather.apply(x, token_idx, slot) if learns else x.index_select(0, token_idx)
    return rows, Dispatched(token_idx, slot, counts, offsets)


def _in_order(chosen: Tensor, n_experts: int) -> tuple[Tensor, Tensor]:
    """Sort the choices by expert; also give each choice its place in that order."""
    if len(chosen) <= _FEW:
        order = chosen.argsort(stable=True)
        return order, order.argsort()
    # Two bytes mostly suffice to number experts, and short integers are sorted by a radix sort.
    short = torch.int16 if n_experts < 2**15 else torch.int32
    order = chosen.to(short).argsort(stable=True)
    places = torch.arange(len(order), device=order.device)
    return order, torch.empty_like(order).scatter_(0, order, places)


class _Gather(torch.autograd.Function):
    """Copy rows; backward, each token gathers the gradients of its own copies."""

    @staticmethod
    def forward(ctx, x: Tensor, token_idx: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return x.index_select(0, token_idx)

    @staticmethod
    @once_differentiable
    def backward(ctx, drows: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        return gather_sum(drows.contiguous(), slot), None, None
