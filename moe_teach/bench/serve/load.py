"""Two ways to ask many things at once, and what is read off the clock afterwards.

A closed loop keeps a number of requests on their way and finds how much a server gets done. It
says little about waiting: who asks again only after an answer leaves a slow server in peace. An
open loop sends requests when they are due, whether or not the others are answered, as people do.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moe_teach.bench.serve.client import Heard, hear

Body = dict[str, Any]


@dataclass(frozen=True)
class Level:
    """What one load gave: tokens per second, and seconds at the 50th, 95th and 99th percent."""

    n_requests: int
    n_failed: int
    tokens_per_second: float
    first: tuple[float, float, float]
    between: tuple[float, float, float]
    whole: tuple[float, float, float]


async def closed(port: int, bodies: Sequence[Body], at_once: int) -> list[Heard]:
    """Keep `at_once` requests on their way until all were answered."""
    waiting = list(reversed(bodies))
    heard: list[Heard] = []

    async def asker() -> None:
        while waiting:
            heard.append(await hear(port, waiting.pop()))

    await asyncio.gather(*(asker() for _ in range(at_once)))
    return heard


async def opened(port: int, bodies: Sequence[Body], rate: float, seed: int) -> list[Heard]:
    """Send requests at the moments of a Poisson process of `rate` per second.

    Waiting counts from the moment a request was due, so a client that is late hides nothing.
    """
    luck = random.Random(seed)
    start, after = time.perf_counter(), 0.0
    asking = []
    for body in bodies:
        after += luck.expovariate(rate)
        await asyncio.sleep(max(0.0, start + after - time.perf_counter()))
        asking.append(asyncio.create_task(hear(port, body, start + after)))
    return list(await asyncio.gather(*asking))


def level_of(heard: Sequence[Heard]) -> Level:
    """Read a load off its clocks; requests without an answer only count as failed."""
    good = [one for one in heard if one.status == 200 and one.n_tokens]
    if not good:
        nothing = (float("nan"),) * 3
        return Level(len(heard), len(heard), 0.0, nothing, nothing, nothing)
    begin, end = min(one.due for one in good), max(one.end for one in good)

    def percents(of: Callable[[Heard], float]) -> tuple[float, float, float]:
        return percentiles([of(one) for one in good])

    return Level(
        n_requests=len(heard),
        n_failed=len(heard) - len(good),
        tokens_per_second=sum(one.n_tokens for one in good) / (end - begin),
        first=percents(lambda one: one.first),
        between=percents(lambda one: one.between),
        whole=percents(lambda one: one.whole),
    )


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the 50th, 95th and 99th percentile, linearly between the values."""
    if len(values) == 1:
        return (values[0],) * 3
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]
