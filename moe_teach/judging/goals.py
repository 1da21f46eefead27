"""An open task has a goal: a quantity that is measured, once the answer is known to be valid.

A measure is a count, a share or a loss at fixed seeds and never a time, so that the same answer
always reaches the same figure, on every machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Goal"]

MeasureFunction = Callable[[Any, Any], Any]


@dataclass(kw_only=True)
class Goal:
    """What is measured, what the course's plain way reaches, and from where on an answer passes.

    `quantity` and `unit` are words: "gate mass kept", "%". The figure of an answer is the mean of
    its measures over the seeds of a check. `limit` says what nobody can surpass, where that is
    known. `cause` and `cure` are told when the goal is missed for the second and the third time.
    A measure that is `side_by_side` takes all seeds in one call, for what costs hardly more then.
    """

    quantity: str
    unit: str
    baseline: float | int
    target: float | int
    more_is_better: bool
    limit: str = ""
    cause: str = ""
    cure: str = ""
    side_by_side: bool = False
    measuring: MeasureFunction | None = field(default=None, init=False)

    def measure(self, function: MeasureFunction) -> MeasureFunction:
        """Measure answers by the decorated function, which takes (answer, seed) and gives a figure.

        A measure that is `side_by_side` takes (answer, seeds) and gives a figure for each.
        """
        self.measuring = function
        return function

    def is_reached(self, figure: float | int) -> bool:
        """Tell whether an answer with this figure passes."""
        return figure == self.target or self.is_better(figure, self.target)

    def is_better(self, figure: float | int, other: float | int) -> bool:
        """Tell whether a figure is better than another one; no figure at all (NaN) never is."""
        return figure > other if self.more_is_better else figure < other

    def in_words(self, figure: float | int) -> str:
        """Say where a figure stands between the plain way and the goal."""
        bound = "at least" if self.more_is_better else "at most"
        words = (
            f"{_big(self.quantity)}: {self.spelt(figure)}. The goal is {bound} "
            f"{self.spelt(self.target)}; the plain way reaches {self.spelt(self.baseline)}."
        )
        return f"{words} {self.limit}".strip()

    def spelt(self, figure: float | int) -> str:
        """Write a figure with its unit; whole numbers whole, others to four digits."""
        number = f"{figure:,.0f}" if float(figure).is_integer() else f"{figure:.4g}"
        space = "" if self.unit == "%" else " "
        return f"{number}{space}{self.unit}".strip()


def _big(words: str) -> str:
    return words[:1].upper() + words[1:]
