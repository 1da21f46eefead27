"""Exercise 11.2: a deal that swaps every place with any place, and how it is told from a fair one.

Of three labels such a deal makes some orders 5 times where it makes others 4 times, too near to see
in a few hundred groups. In a long group it leans at every place, and all places tell together.
"""

from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

N_GROUPS, SIZE = 60, 100
LIMIT = 5.5  # standard deviations; a fair deal is above once in thirteen million
Lean = Float[Tensor, "n n"]


@cache
def lean(n: int) -> Lean:
    """Tell how much likelier than 1 / n it is that a label goes from a place to another one.

    For i in 0 ... n - 1 the labels of place i and of a place drawn from all n are swapped.
    """
    likely = torch.eye(n, dtype=torch.float64)  # from, to
    for i in range(n):
        likely = likely * (1 - 1 / n) + likely[:, i : i + 1] / n
        likely[:, i] = 1 / n
    return n * likely - 1


def leaning(came_from: Int[Tensor, "groups n"]) -> float:
    """Tell how far deals lean like that: in standard deviations of fair ones, about 9 or 0.

    `came_from` says for each place of each group from which one its label came. The swaps may have
    gone from the first place or from the last, and labels may have been fetched or sent.
    """
    n_groups, n = came_from.shape
    leans, here = lean(n), torch.arange(n)
    spread = ((leans**2).sum() * n_groups / (n - 1)).sqrt()
    ways = (leans, leans.flip(0, 1), leans.T, leans.T.flip(0, 1))
    return max(float(way[came_from, here].sum() / spread) for way in ways)
