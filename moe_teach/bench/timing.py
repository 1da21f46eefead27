"""Fair timing on a machine that others use too: all contenders in turn, round after round.

A busy neighbour slows a whole round, so each contender is compared with the limit of its own
round, and the table shows the median over rounds.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender (median over rounds) and its ratio to the limit."""

    seconds: float
    ratio: float


def wall_seconds(run: Run) -> float:
    """Run something and return the seconds that passed on the wall."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cpu_seconds(run: Run) -> float:
    """Run something and return the seconds that this process, with all its threads, computed."""
    start = time.process_time()
    run()
    return time.process_time() - start


def in_turn(
    contenders: Mapping[str, Run],
    limit: str,
    *,
    budget_s: float,
    min_rounds: int = 3,
    clock: Callable[[Run], float] = wall_seconds,
) -> dict[str, Timing]:
    """Time every contender once per round until `budget_s` is spent; at least `min_rounds`.

    The order changes from round to round: who comes after a contender that has emptied the caches
    pays for it, by up to 6 % in small layers, and that must not always be the same one.

    Args:
        contenders: name to a function that does one step; `limit` is one of the names.
        limit: the contender that the others are compared with.
        budget_s: seconds to spend on the rounds, after one warm-up of each contender.
        min_rounds: rounds to run even when the budget is spent.
        clock: runs a contender and returns its seconds.
    """
    if limit not in contenders:
        raise ValueError(f"The limit {limit!r} must be one of the contenders {list(contenders)}.")
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    order, shuffle = list(contenders), random.Random(0).shuffle
    start = time.perf_counter()
    while len(seconds[limit]) < min_rounds or time.perf_counter() - start < budget_s:
        shuffle(order)
        for name in order:
            seconds[name].append(clock(contenders[name]))
    return {name: _summary(taken, seconds[limit]) for name, taken in seconds.items()}


def _summary(taken: list[float], limit: list[float]) -> Timing:
    ratios = [mine / best for mine, best in zip(taken, limit, strict=True)]
    return Timing(statistics.median(taken), statistics.median(ratios))
