"""How sure a measure is: its interval if other texts of the same kind had come.

This is about texts. How far a measure moves with the seed of the training is another question,
and `moe_teach.train.differences` answers it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.config import refuse


@dataclass(frozen=True)
class Interval:
    """A measured value and the ends of its interval of confidence, of `level`."""

    measured: float
    low: float
    high: float
    level: float

    def __format__(self, form: str) -> str:
        form = form or ".3f"
        return f"{self.measured:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap(
    measure: Callable[[Tensor], float],
    sequence_ids: Int[Tensor, " T"],
    *,
    n: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a measure's interval from drawing whole texts again, with replacement.

        bootstrap(lambda t: mutual_information(ids[t], domains[t]), record.sequence_ids)

    The basic interval (Davison and Hinkley 1997, section 5.2): twice the measured value minus the
    percentiles. For a measure that few data make too large, as mutual information, drawing again
    makes it larger still, and this turns that shift back instead of doubling it.

    Args:
        measure: of the indices of tokens, which may come more than once -> a number.
        sequence_ids: the text of each token.
        n: how many draws.
        seed: of the draws.
        level: of confidence.

    Raises:
        ValueError: there are fewer than two texts, or the level is not between 0 and 1.
    """
    refuse(not 0 < level < 1, f"A level lies between 0 and 1, but it is {level}.")
    order = sequence_ids.argsort(stable=True)
    texts = order.split(sequence_ids.unique(return_counts=True)[1].tolist())
    refuse(len(texts) < 2, f"An interval needs at least two texts, and here is {len(texts)}.")
    source, values = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        drawn = torch.randint(len(texts), (len(texts),), generator=source).tolist()
        values.append(measure(torch.cat([texts[text] for text in drawn])))
    measured = measure(torch.arange(len(sequence_ids)))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.tensor(values, dtype=torch.float64).quantile(tails).tolist()
    return Interval(measured, 2 * measured - high, 2 * measured - low, level)
