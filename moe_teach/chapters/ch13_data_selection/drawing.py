"""Chapter 13: how often pairs of rows are drawn, by the odds and by mistakes that are often made.

The draws are of two rows without replacement: the first with odds exp(scale * score), the second
with the same odds among the rest.
"""

import math
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

LIKELY = 70  # a surprise that chance would hardly ever surpass, with 15 pairs
_N_SLIPPED = 40_000


def probabilities(scores: Float[Tensor, " n"], scale: float) -> Float[Tensor, "n n"]:
    """Return the probability of each pair (i < j), exactly; of an infinite scale, the limit."""
    n = len(scores)
    log_odds = 1e4 * scores.double() if math.isinf(scale) else scale * scores.double()
    first = log_odds.softmax(0)
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        rest = log_odds.clone()
        rest[i] = -math.inf
        pairs[i] = first[i] * rest.softmax(0)
    return (pairs + pairs.T).triu(1)


def counted(pairs: Int[Tensor, "draws 2"], n: int) -> Float[Tensor, "n n"]:
    """Count how often each pair (i < j) was drawn, in either order."""
    low, high = pairs.min(1).values, pairs.max(1).values
    return torch.bincount(low * n + high, minlength=n * n).view(n, n).double()


def surprise(counts: Float[Tensor, "n n"], expected: Float[Tensor, "n n"]) -> float:
    """Return the likelihood ratio's G: about the number of pairs where the counts are by chance.

    Pearson's chi-squared would take a single draw of a rare pair for a proof.
    """
    wanted = (expected * counts.sum()).clamp(min=1e-3)
    return float(2 * torch.xlogy(counts, counts / wanted).sum())


@cache
def _noise(n: int) -> Float[Tensor, "draws n"]:
    drawn = torch.Generator().manual_seed(13)
    return torch.rand(_N_SLIPPED, n, generator=drawn, dtype=torch.float64)


def slipped(scores: Float[Tensor, " n"], scale: float, slip: str) -> Float[Tensor, "n n"]:
    """Return the share of each pair (i < j) where this mistake was made."""
    u = _noise(len(scores))
    scaled, gumbel = scale * scores.double(), -(-u.log()).log()
    keys = {
        "sorted": scaled + 0 * u,
        "flipped": gumbel - scaled,
        "no scale": scores + gumbel,
        "scaled noise": scores + gumbel,
        "normal": scaled + torch.special.ndtri(u),
        "even": scaled + u,
        "exponential": scaled - u.log(),
        "mirrored": scaled - gumbel,
        "odds": scaled.clamp(min=1e-9).log() + gumbel,
    }[slip]
    return counted(keys.topk(2).indices, len(scores)) / len(u)
