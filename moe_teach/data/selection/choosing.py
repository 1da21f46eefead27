"""Chooses n of many by their scores: one by one, or so that they go together.

A batch is drawn, not sorted: example i comes with probability proportional to exp(scale * score),
without replacement. That is done by adding noise of Gumbel's distribution to the scaled scores and
taking the largest (Kool et al. 2019, arXiv 1903.06059). An infinite scale takes the highest scores.

Where the loss of a batch is a sum over pairs, as the sigmoid contrastive loss is (arXiv
2303.15343), so is its score: s(B) = sum of s_ij over i, j in B. What example i adds to those
chosen already, C, is then

    s(i | C) = s_ii + sum over k in C of (s_ik + s_ki)
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse


def choose_independently(
    scores: Float[Tensor, " n"], n_chosen: int, drawn: torch.Generator, *, scale: float = 1.0
) -> Int[Tensor, " n_chosen"]:
    """Choose examples by their own scores; whom else is chosen does not matter.

    Args:
        scores: one for each example of a super-batch.
        n_chosen: how many.
        drawn: the generator, moved on by one draw for each example.
        scale: per unit of the score; 0 draws evenly, infinity takes the highest.

    Raises:
        ValueError: more are wanted than there are, or a score is not a finite number.
    """
    _demand(scores, n_chosen, scale)
    if math.isinf(scale):  # the highest; among equals, a lot decides
        mixed = torch.randperm(len(scores), generator=drawn)
        return mixed[scores.double().cpu()[mixed].topk(n_chosen).indices]
    noise = -torch.empty(len(scores), dtype=torch.float64).exponential_(generator=drawn).log()
    return (scale * scores.double().cpu() + noise).topk(n_chosen).indices


def choose_jointly(
    pair_scores: Float[Tensor, "n n"],
    n_chosen: int,
    n_chunks: int,
    drawn: torch.Generator,
    *,
    scale: float = 1.0,
) -> Int[Tensor, " n_chosen"]:
    """Choose a batch whose examples score high together (JEST, arXiv 2406.17711, algorithm 1).

    It is built in chunks, each drawn by s(i | C), which is brought up to date between chunks only:
    one chunk is the independent choice.

    Args:
        pair_scores: s_ij, one for each pair of examples.
        n_chosen: how many examples.
        n_chunks: in how many chunks; it must divide `n_chosen`.
        drawn: the generator.
        scale: as in `choose_independently`.

    Raises:
        ValueError: more are wanted than there are, the chunks are not equal, or a score is not a
            finite number.
    """
    refuse(
        n_chunks < 1 or n_chosen % n_chunks != 0,
        f"{n_chosen} examples cannot be chosen in {n_chunks} equal chunks.",
    )
    _demand(pair_scores, n_chosen, scale)
    own, size = pair_scores.diagonal(), n_chosen // n_chunks
    both_ways = pair_scores + pair_scores.T
    given = torch.zeros_like(own)
    rest = torch.arange(len(own))
    chosen = rest[:0]
    for _ in range(n_chunks):
        chunk = rest[choose_independently((own + given)[rest], size, drawn, scale=scale)]
        chosen = torch.cat([chosen, chunk])
        given = given + both_ways[:, chunk].sum(1)
        rest = rest[~torch.isin(rest, chunk)]
    return chosen


def n_candidates(n_chosen: int, filter_ratio: float) -> int:
    """Return how many examples must be looked at so that a share of them is filtered out.

    The filter ratio of JEST: at 0.8, a batch of 16 is chosen from 80.

    Raises:
        ValueError: the ratio is not in [0, 1), or the number is not whole.
    """
    refuse(not 0 <= filter_ratio < 1, f"A filter ratio lies in [0, 1), not {filter_ratio}.")
    n = n_chosen / (1 - filter_ratio)
    refuse(
        abs(n - round(n)) > 1e-6 * n,
        f"A filter ratio of {filter_ratio} would choose {n_chosen} of {n:.2f}: take one that "
        "leaves a whole number.",
    )
    return round(n)


def _demand(scores: Tensor, n_chosen: int, scale: float) -> None:
    refuse(
        not 1 <= n_chosen <= len(scores),
        f"Of {len(scores)} examples, between 1 and {len(scores)} can be chosen, not {n_chosen}.",
    )
    refuse(not scale >= 0, f"The scale must be 0 or more, but it is {scale}.")
    finite = bool(torch.isfinite(scores).all())
    refuse(not finite, "A score is not a finite number, so nothing can be ranked.")
