"""Dispatch by one stable sort, combine by one gather: no loop over experts, no mask per expert.

Both ways each token sums the rows that are its own (`gather_sum`). Reading is deterministic and
parallel where scattering is neither. No copy of (T, K, D) numbers is made, forward or backward.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.ops.demand import count_ids
from moe_teach.types import Dispatched, Routing

_SUM = 0  # as torch.embedding_bag numbers what is done with a bag
_FEW = 256  # choices that are faster sorted twice than numbered and scattered


def dispatch_torch(x: Tensor, routing: Routing) -> tuple[Tensor, Dispatched]:
    """Sort all T * K choices by expert; a stable sort keeps each expert's tokens in order."""
    n_experts, top_k = routing.probs.shape[-1], routing.expert_ids.shape[-1]
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


def combine_torch(y: Tensor, gates: Tensor, dispatched: Dispatched) -> Tensor:
    """Gather and sum in one pass; the backward pass gathers too, and never scatters."""
    if not torch.is_grad_enabled():
        return _mix(y, gates, dispatched.slot)
    return _Combine.apply(y, gates, dispatched.token_idx, dispatched.slot)


def _mix(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    precise = torch.promote_types(y.dtype, gates.dtype)
    return gather_sum(y.to(precise), slot, gates.to(precise)).to(y.dtype)


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y: Tensor, gates: Tensor, token_idx: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(y, gates, token_idx, slot)
        return _mix(y, gates, slot)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor) -> tuple[Tensor | None, ...]:
        y, gates, token_idx, slot = ctx.saved_tensors
        precise = torch.promote_types(y.dtype, gates.dtype)
        drows = dout.index_select(0, token_idx).to(precise)
        dgates = None
        if ctx.needs_input_grad[1]:
            dgates = by_choice(torch.linalg.vecdot(drows, y.to(precise)), slot).to(gates.dtype)
        dy = drows.mul_(by_row(gates, slot, len(y)).to(precise)[:, None]).to(y.dtype)
        return dy, dgates, None, None


def gather_sum(table: Tensor, slot: Tensor, gates: Tensor | None = None) -> Tensor:
    """Sum `table[slot[t, k]]` over k for each t, weighted by `gates[t, k]` where given.

    A slot of -1 adds nothing. torch's embedding bag gathers and sums in one pass, without the
    (T, K, D) copy: the table is its vocabulary, and each token a bag of K of its vectors.
    """
    n_rows, width = table.shape
    if not n_rows or not slot.numel():
        return table.new_zeros(slot.shape[0], width)
    if n_rows == slot.numel():  # nothing was dropped
        # Not through torch.nn.functional, whose checks take as long as a small bag.
        starts = torch.arange(0, n_rows, slot.shape[1], device=slot.device)
        weights = None if gates is None else gates.reshape(-1)
        return torch.embedding_bag(
            table, slot.reshape(-1), starts, mode=_SUM, per_sample_weights=weights
        )[0]
    kept = slot >= 0
    kept_per_token = kept.sum(dim=-1)
    starts = kept_per_token.cumsum(0) - kept_per_token
    weights = None if gates is None else gates[kept]
    return F.embedding_bag(slot[kept], table, starts, per_sample_weights=weights, mode="sum")


def by_row(values: Tensor, slot: Tensor, n_rows: int) -> Tensor:
    """Reorder one value per choice (T, K) into one per routed row (N,)."""
    out = values.new_empty(n_rows)
    if n_rows == slot.numel():  # nothing was dropped
        return out.scatter_(0, slot.flatten(), values.flatten())
    kept = slot >= 0
    out[slot[kept]] = values[kept]
    return out


def by_choice(values: Tensor, slot: Tensor) -> Tensor:
    """Reorder one value per routed row (N,) into one per choice (T, K); 0 where dropped."""
    if not values.numel():
        return values.new_zeros(slot.shape)
    if len(values) == slot.numel():  # nothing was dropped
        return values[slot]
    return torch.where(slot >= 0, values[slot.clamp(min=0)], 0)
