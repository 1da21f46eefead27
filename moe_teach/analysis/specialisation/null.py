"""What a measure gives where there is nothing to find: the same numbers with labels permuted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.config import refuse


@dataclass(frozen=True)
class Null:
    """What a measure gave for permuted labels, and how the observed value stands to it."""

    observed: float
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over permutations: what chance alone gives."""
        return sum(self.values) / len(self.values)

    @property
    def excess(self) -> float:
        """What was observed above the mean of the null."""
        return self.observed - self.mean

    @property
    def band(self) -> tuple[float, float]:
        """The middle 95 % of the null."""
        low, high = torch.tensor(self.values, dtype=torch.float64).quantile(
            torch.tensor([0.025, 0.975], dtype=torch.float64)
        )
        return float(low), float(high)

    @property
    def p_value(self) -> float:
        """The share of permutations that reach what was observed, which counts as one of them.

        (1 + number of values >= observed) / (1 + number of values): never zero, because a test of
        n permutations cannot say more (Phipson and Smyth 2010).
        """
        reached = sum(value >= self.observed for value in self.values)
        return (1 + reached) / (1 + len(self.values))


def permutation_null(
    measure: Callable[[Int[Tensor, " T"]], float],
    labels: Int[Tensor, " T"],
    n: int = 20,
    *,
    within: Int[Tensor, " T"] | None = None,
    seed: int = 0,
) -> Null:
    """Measure the labels as they are, and n times with the labels permuted.

    Tokens of one text are not independent, so permuting single tokens makes the null too narrow
    for anything that changes slowly along a text. Permute `labels` of whole sequences where that
    matters: `permuted_by_sequence`.

    Args:
        measure: what is computed of labels, such as `lambda d: mutual_information(ids, d)`.
        labels: one number for each token.
        n: permutations; the smallest p-value is 1 / (n + 1).
        within: permute only among tokens with the same value here. For what a label says beyond
            the token, the permutation must leave the token's own domains as they are.
        seed: of the permutations.

    Raises:
        ValueError: no permutation is asked for.
    """
    refuse(n < 1, f"A null needs at least one permutation, and {n} were asked for.")
    drawn = torch.Generator().manual_seed(seed)
    values = tuple(measure(permuted(labels, drawn, within)) for _ in range(n))
    return Null(measure(labels), values)


def permuted(
    labels: Int[Tensor, " T"],
    drawn: torch.Generator,
    within: Int[Tensor, " T"] | None = None,
) -> Int[Tensor, " T"]:
    """Return the labels in another order, within each value of `within` where it is given."""
    order = torch.randperm(len(labels), generator=drawn)
    if within is None:
        return labels[order]
    # Both sorts bring the groups together; the first keeps the tokens' order, the second has none.
    there = within.argsort(stable=True)
    shuffled = order[within[order].argsort(stable=True)]
    result = torch.empty_like(labels)
    result[there] = labels[shuffled]
    return result


def permuted_by_sequence(
    labels: Int[Tensor, " T"], sequence_ids: Int[Tensor, " T"], drawn: torch.Generator
) -> Int[Tensor, " T"]:
    """Return labels that are dealt out anew to whole sequences; each sequence has one label.

    Raises:
        ValueError: a sequence has tokens of two labels.
    """
    sequences, number = sequence_ids.unique(return_inverse=True)
    of_sequence = labels.new_empty(len(sequences)).index_copy(0, number, labels)
    refuse(
        bool((of_sequence[number] != labels).any()),
        "A sequence has tokens of two labels, so the labels cannot be dealt out to sequences.",
    )
    return of_sequence[torch.randperm(len(sequences), generator=drawn)][number]
