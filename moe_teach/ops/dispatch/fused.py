"""Dispatch by two kernels: one finds the rows of all choices, one copies the tokens there.

Few choices cost one launch each; many cost one more for counting. The host waits for the device
only when choices were dropped, because then it has to know the number of rows.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.ops.demand import demand_expert_ids
from moe_teach.ops.dispatch.layout import lay_out
from moe_teach.ops.fused_rows import collect, spread
from moe_teach.types import Dispatched, Routing


def dispatch_triton(x: Tensor, routing: Routing) -> tuple[Tensor, Dispatched]:
    """Lay the choices out and copy every token to its rows.

    On the CPU ids out of range are refused, as by the other backends. On a GPU they count as
    dropped, because looking for them would mean waiting.
    """
    if routing.expert_ids.device.type == "cpu":
        demand_expert_ids(routing.expert_ids, routing.n_experts)
    record = lay_out(routing.expert_ids, routing.n_experts, routing.kept).dispatched
    if routing.kept is not None:
        n_rows = int(record.expert_offsets[-1])
        record = Dispatched(
            record.token_idx[:n_rows],
            record.slot,
            record.tokens_per_expert,
            record.expert_offsets,
        )
    return _Dispatch.apply(x, record.slot, len(record.token_idx)), record


class _Dispatch(torch.autograd.Function):
    """Copy rows; backward, each token sums the gradients of its own copies."""

    @staticmethod
    def forward(ctx, x: Tensor, slot: Tensor, n_rows: int) -> Tensor:
        ctx.save_for_backward(slot)
        return spread(x, slot, n_rows)

    @staticmethod
    @once_differentiable
    def backward(ctx, drows: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        return collect(drows, slot), None, None
