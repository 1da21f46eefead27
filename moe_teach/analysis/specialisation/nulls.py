"""What chance alone would give: the same measure with its labels dealt out anew."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.config import refuse


@dataclass(frozen=True)
class Null:
    """A measured value beside the values that chance gave: their mean and the middle 95 %.

    `values` are those of the draws. `p_value` is the share of draws that reach the measured value,
    itself counted as one of them, so that it is never 0 (Phipson and Smyth 2010).
    """

    measured: float
    mean: float
    low: float
    high: float
    p_value: float
    n: int
    values: tuple[float, ...] = ()

    @property
    def excess(self) -> float:
        """The measured value without what chance has on average: corrected for bias."""
        return self.measured - self.mean


def permutation_null(
    measure: Callable[[Tensor], float],
    labels: Int[Tensor, " T"],
    *,
    n: int = 200,
    seed: int = 0,
    within: Int[Tensor, " T"] | None = None,
    units: Int[Tensor, " T"] | None = None,
) -> Null:
    """Measure again with the labels permuted, `n` times.

        permutation_null(lambda l: mutual_information(ids, l), domains, units=sequence_ids)
        permutation_null(lambda l: conditional_information(ids, l, tokens), domains, within=tokens)

    Args:
        measure: of labels (T,) -> a number.
        labels: of the tokens, as they are.
        n: how many permutations; the p-value cannot be smaller than 1 / (n + 1).
        seed: of the permutations.
        within: labels change places only among tokens of the same value here. A conditional
            measure needs it: a free permutation would give a token labels it never has.
        units: whole units change labels, whose tokens all have one. Tokens of a text go
            together, and a null that deals them out one by one is too narrow.

    Raises:
        ValueError: both `within` and `units`, no tokens, or a unit with two labels.
    """
    _demand(labels, n, within, units)
    source = torch.Generator().manual_seed(seed)
    deal = _by_units(labels, units) if units is not None else _within(labels, within)
    draws = torch.tensor([measure(deal(source)) for _ in range(n)], dtype=torch.float64)
    measured = measure(labels)
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    # In float64 a permuted table of the same counts may differ in its last bits.
    reached = int((draws >= measured - 1e-12).sum())
    p_value, values = (reached + 1) / (n + 1), tuple(draws.tolist())
    return Null(measured, float(draws.mean()), low, high, p_value, n, values)


def permuted(
    labels: Int[Tensor, " T"], drawn: torch.Generator, within: Int[Tensor, " T"] | None = None
) -> Int[Tensor, " T"]:
    """Return the labels in another order, within each value of `within` where it is given."""
    return _within(labels, within)(drawn)


def permuted_by_sequence(
    labels: Int[Tensor, " T"], sequence_ids: Int[Tensor, " T"], drawn: torch.Generator
) -> Int[Tensor, " T"]:
    """Return labels that are dealt out anew to whole sequences; each sequence has one label.

    Raises:
        ValueError: a sequence has tokens of two labels.
    """
    return _by_units(labels, sequence_ids)(drawn)


def _demand(labels: Tensor, n: int, within: Tensor | None, units: Tensor | None) -> None:
    refuse(n < 1, f"A null needs at least one permutation, not {n}.")
    refuse(not len(labels), "There are no tokens, so there is nothing to permute.")
    refuse(
        within is not None and units is not None,
        "Permute within groups or by whole units, not both: a unit belongs to no one token.",
    )


Deal = Callable[[torch.Generator], Tensor]


def _within(labels: Tensor, within: Tensor | None) -> Deal:
    if within is None:
        return lambda source: labels[torch.randperm(len(labels), generator=source)]
    refuse(len(within) != len(labels), "Each token needs one group to stay within.")
    places = within.argsort(stable=True)  # group by group

    def deal(source: torch.Generator) -> Tensor:
        mixed = torch.randperm(len(labels), generator=source)
        origins = mixed[within[mixed].argsort(stable=True)]  # the same groups, mixed inside
        return torch.empty_like(labels).index_copy_(0, places, labels[origins])

    return deal


def _by_units(labels: Tensor, units: Tensor) -> Deal:
    refuse(len(units) != len(labels), "Each token needs one unit that it belongs to.")
    of_token = units.unique(return_inverse=True)[1]
    n_units = int(of_token.max()) + 1
    of_unit = labels.new_zeros(n_units).index_copy_(0, of_token, labels)
    refuse(
        not torch.equal(of_unit[of_token], labels),
        "A unit has tokens of two labels, so it cannot change its label as a whole.",
    )
    return lambda source: of_unit[torch.randperm(n_units, generator=source)][of_token]
