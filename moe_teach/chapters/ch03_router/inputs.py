"""What the exercises of this chapter are tried on, edges included."""

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

# tokens, experts, top_k: one of each, one expert of several, all of them, two-digit numbers
SIZES = ((1, 1, 1), (1, 3, 2), (3, 5, 2), (3, 4, 1), (7, 11, 3), (5, 4, 4))


def draw_logits(n_tokens: int, n_experts: int, seed: int, scale: float = 1.0) -> Tensor:
    """Draw logits that do not lie side by side in memory, as a transposed matrix does not."""
    return scale * torch.randn(n_experts, n_tokens, generator=generator(seed)).T


def far_logits(seed: int) -> Tensor:
    """Draw logits near 1,000 whose rows lie 200 apart: `exp` of them overflows."""
    rows = 1_000 + 200 * torch.arange(-2.0, 2.0)[:, None]
    return draw_logits(4, 6, seed) + rows
