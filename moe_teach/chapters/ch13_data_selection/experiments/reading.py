"""Chapter 13: when does a run reach what another one ended at, and at which price?"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from moe_teach.train.experiment import Cell, Grid


class Price(NamedTuple):
    """What a run spent until it was as good as uniform was at its end: its share of uniform's.

    `steps`, `flops` and `seconds` are shares, 1 for as much; `with_reference` counts the
    operations of the reference's training, too, as if it served this run alone. All are None where
    the run never got there.
    """

    steps: float | None
    flops: float | None
    seconds: float | None
    with_reference: float | None


def reached(
    marks: Sequence[float], values: Sequence[float], target: float, *, lowest: bool
) -> float | None:
    """Return at which mark a curve first reaches a target, between two marks by a straight line.

    Args:
        marks: where the curve was measured, rising.
        values: what was measured there.
        target: the value to be reached.
        lowest: whether smaller is better, as with a loss.
    """
    sign = 1 if lowest else -1
    gaps = [sign * (value - target) for value in values]
    if gaps[0] <= 0:
        return float(marks[0])
    for (mark, gap), (later, there) in pairwise(zip(marks, gaps, strict=True)):
        if there <= 0:
            return mark + (later - mark) * gap / (gap - there)
    return None


def price(cell: Cell, uniform: Cell, key: str, *, lowest: bool) -> Price:
    """Compare one run with the uniform one of the same seed, stream and length.

    Args:
        cell: of the run, by a rule that asks a reference, or uniform itself.
        uniform: of the uniform run.
        key: "loss" or "matched".
        lowest: whether smaller is better.
    """
    target = uniform.result[key][-1]
    mine, theirs = cell.result, uniform.result
    steps = reached(mine["steps"], mine[key], target, lowest=lowest)
    if steps is None:
        return Price(None, None, None, None)
    seconds = reached(mine["cpu_seconds"], mine[key], target, lowest=lowest)
    whole = theirs["flops_per_step"] * theirs["steps"][-1]
    flops = mine["flops_per_step"] * steps
    paid = 0 if mine["flops_per_step"] == theirs["flops_per_step"] else mine["reference_flops"]
    return Price(
        steps / theirs["steps"][-1],
        flops / whole,
        seconds / theirs["cpu_seconds"][-1],
        (flops + paid) / whole,
    )


def prices(grid: Grid, name: str, uniform: str, key: str, *, lowest: bool) -> list[Price]:
    """Return the price of each seed's run called `name`, beside that seed's uniform run."""
    beside = {cell.seed: cell for cell in grid.of(uniform)}
    return [price(cell, beside[cell.seed], key, lowest=lowest) for cell in grid.of(name)]
