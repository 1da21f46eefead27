"""Combine without the (T, K, D) copy, forward or backward."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.ops.gather_sum import by_choice, by_row, gather_sum
from moe_teach.types import Dispatched


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
