"""Combine without the (T, K, D) copy: torch's embedding bag gathers and sums in one pass."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.ops.combine.reference import combine_reference
from moe_teach.types import Dispatched


def combine_torch(y: Tensor, gates: Tensor, dispatched: Dispatched) -> Tensor:
    """Read `y` as a table of vectors and each token as a bag of K of them, weighted by `gates`."""
    if not y.shape[0]:
        return combine_reference(y, gates, dispatched)  # the bag refuses an empty table
    precise = torch.promote_types(y.dtype, gates.dtype)
    table, gates, slot = y.to(precise), gates.to(precise), dispatched.slot
    if y.shape[0] == slot.numel():  # nothing was dropped
        return F.embedding_bag(slot, table, per_sample_weights=gates, mode="sum").to(y.dtype)
    kept = slot >= 0
    kept_per_token = kept.sum(dim=-1)
    starts = kept_per_token.cumsum(0) - kept_per_token
    bags = F.embedding_bag(slot[kept], table, starts, per_sample_weights=gates[kept], mode="sum")
    return bags.to(y.dtype)
