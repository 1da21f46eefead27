"""Chapter 13: how often pairs of rows are drawn, by the odds and by mistakes that are often made.

The draws are of two rows without replacement: the first with odds exp(scale * score), the second
with the same odds among the rest.
"""

import math
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.judging.reasons import Why

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


# What each mistake is told; `slipped` says what it draws.
SLIPS = {
    "sorted": Why("The highest scores were taken, whatever the noise.",
                  "Add the noise to the scaled scores before `topk`."),
    "flipped": Why("Low scores win.", "The largest of scale * score + noise."),
    "no scale": Why("The scale has no effect: it was left out, or the noise was multiplied by it, "
                    "too, so that it cancels.", "scale * score + noise."),
    "divided": Why("The scores were divided by the scale, as by a temperature.",
                   "Here a larger scale decides more sharply: scale * score."),
    "standardised": Why("The scores were brought to one mean and spread first.",
                        "The odds are exp(scale * score), of the scores as they are."),
    "then sorted": Why("The first row is drawn, and the others are the highest that are left.",
                       "Each is drawn: noise for every row, and the largest sums."),
    "normal": Why("The noise has a normal distribution: near the odds, and not the odds.",
                  "Noise of Gumbel's distribution, -log(-log(u))."),
    "even": Why("The noise is even between 0 and 1: rows that are 1 apart never change places.",
                "Noise of Gumbel's distribution, -log(-log(u))."),
    "exponential": Why("The noise is -log(u): one more logarithm was meant.", "-log(-log(u))."),
    "mirrored": Why("The noise has the wrong sign: log(-log(u)).", "-log(-log(u))."),
    "odds": Why("The scaled scores themselves were taken for odds.", "exp(scale * score)."),
}  # fmt: skip


@cache
def _noise(n: int) -> Float[Tensor, "draws n"]:
    drawn = torch.Generator().manual_seed(13)
    return torch.rand(_N_SLIPPED, n, generator=drawn, dtype=torch.float64)


def slipped(scores: Float[Tensor, " n"], scale: float, slip: str) -> Float[Tensor, "n n"]:
    """Return the share of each pair (i < j) where this mistake was made."""
    u = _noise(len(scores))
    scaled, gumbel = scale * scores.double(), -(-u.log()).log()
    if slip == "then sorted":
        first = (scaled + gumbel).argmax(1)
        high, next_one = scores.topk(2).indices
        return counted(torch.stack([first, torch.where(first == high, next_one, high)], 1),
                       len(scores)) / len(u)  # fmt: skip
    keys = {
        "sorted": scaled + 0 * u,
        "flipped": gumbel - scaled,
        "no scale": scores + gumbel,
        "divided": scores / max(scale, 1e-9) + gumbel,
        "standardised": (scaled - scaled.mean()) / scores.double().std() + gumbel,
        "normal": scaled + torch.special.ndtri(u),
        "even": scaled + u,
        "exponential": scaled - u.log(),
        "mirrored": scaled - gumbel,
        "odds": scaled.clamp(min=1e-9).log() + gumbel,
    }[slip]
    return counted(keys.topk(2).indices, len(scores)) / len(u)
