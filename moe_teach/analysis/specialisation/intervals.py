"""How sure a number is: its interval over texts that are drawn again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.config import refuse


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap(
    measure: Callable[[Int[Tensor, " n"]], float],
    sequence_ids: Int[Tensor, " T"],
    n: int = 200,
    *,
    seed: int = 0,
) -> Interval:
    """Return a measure with its percentile interval over texts drawn with replacement.

    Tokens of a text hang together, so whole texts are drawn and not tokens (Efron and Tibshirani
    1993, chapter 8). The interval is about other texts like these; it says nothing about another
    training run: for that, measure several seeds (`moe_teach.train.differences`).

    Args:
        measure: called with the places of tokens, `lambda places: f(ids[places], labels[places])`.
        sequence_ids: which text each token belongs to.
        n: how often texts are drawn.
        seed: of the draws.

    Raises:
        ValueError: there are fewer than two texts, or no draw is asked for.
    """
    _, number = sequence_ids.unique(return_inverse=True)
    n_texts = int(number.max()) + 1 if len(number) else 0
    refuse(n_texts < 2, f"An interval over texts needs two or more, and there are {n_texts}.")
    refuse(n < 1, f"At least one draw is needed, and {n} were asked for.")
    order = number.argsort(stable=True)
    texts = order.split(number.bincount().tolist())
    drawn = torch.Generator().manual_seed(seed)
    values = torch.tensor(
        [
            measure(
                torch.cat([texts[i] for i in torch.randint(n_texts, (n_texts,), generator=drawn)])
            )
            for _ in range(n)
        ],
        dtype=torch.float64,
    )
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(measure(order.sort().values), low, high)
