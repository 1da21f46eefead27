"""The gather that dispatch and combine share: each token sums the rows that are its own.

Reading is deterministic and parallel where scattering is neither, and dispatch and combine are
each other's transpose: what one does forward, the other does backward.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_sum(table: Tensor, slot: Tensor, gates: Tensor | None = None) -> Tensor:
    """Sum `table[slot[t, k]]` over k for each t, weighted by `gates[t, k]` where given.

    A slot of -1 adds nothing. torch's embedding bag gathers and sums in one pass, without the
    (T, K, D) copy: the table is its vocabulary, and each token a bag of K of its vectors.
    """
    n_rows, width = table.shape
    if not n_rows or not slot.numel():
        return table.new_zeros(slot.shape[0], width)
    if n_rows == slot.numel():  # nothing was dropped
        return F.embedding_bag(slot, table, per_sample_weights=gates, mode="sum")
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
