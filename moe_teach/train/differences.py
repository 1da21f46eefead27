"""Is a difference between two sets of runs more than the noise of their seeds?

Intervals hold the mean difference with 95 % probability if differences are about normal. An
interval that holds 0 is no proof of "no effect": it says which effects are excluded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, variance

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference, the half width of its interval, and the degrees of freedom behind it."""

    mean: float
    half_width: float
    freedom: float | int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half_width

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __format__(self, form: str) -> str:
        return f"{self.mean:{form or '+.3f'}} ± {self.half_width:{(form or '.3f').lstrip('+')}}"


def paired(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Return `values` minus `reference`, seed by seed, with Student's interval.

    Raises:
        ValueError: if they are not equally many, or fewer than two.
    """
    if len(values) != len(reference) or len(values) < 2:
        raise ValueError(
            f"Pairs need two lists of the same length, at least 2, and these hold {len(values)} "
            f"and {len(reference)}. Give one number for each seed, in the same order."
        )
    gaps = [value - other for value, other in zip(values, reference, strict=True)]
    freedom = len(gaps) - 1
    width = student(freedom) * math.sqrt(variance(gaps) / len(gaps))
    return Difference(mean(gaps), width, freedom)


def apart(values: Sequence[float], others: Sequence[float]) -> Difference:
    """Return the mean of `values` minus that of `others`, which share no seeds (Welch 1947).

    With the gains of two experiments it tests whether a gain is larger in one than in the other:
    "clear here and inside the noise there" does not.

    Raises:
        ValueError: if there are fewer than two of either, or none of them varies.
    """
    if min(len(values), len(others)) < 2 or not variance(values) + variance(others):
        raise ValueError(
            f"Each side needs at least 2 numbers, and one side must vary; these are "
            f"{list(values)} and {list(others)}. Give one number for each seed."
        )
    parts = [variance(side) / len(side) for side in (values, others)]
    sizes = (len(values), len(others))
    below = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    freedom = sum(parts) ** 2 / below
    width = student(freedom) * math.sqrt(sum(parts))
    return Difference(mean(values) - mean(others), width, freedom)


def student(freedom: float | int) -> float:
    """Return the t that Student's distribution exceeds, on both sides, in 5 % of all cases.

    `freedom` may be a fraction, as Welch's test gives it, of at least 1.
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if _inside(middle, freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return low


def _inside(t: float, freedom: float | int) -> float:
    # With t = sqrt(freedom) tan(angle) the density becomes a power of a cosine: smooth, and bounded
    # (Simpson's rule).
    edge, n = math.atan(t / math.sqrt(freedom)), 200
    heights = [math.cos(i * edge / n) ** (freedom - 1) for i in range(n + 1)]
    area = (
        edge
        / n
        / 3
        * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    )
    log_norm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return 2 * area * math.exp(log_norm) / math.sqrt(math.pi)
