"""Exercise 14.2: the policy by its definition, use by use, and uses to try it on."""

import math
import random
from collections.abc import Iterable
from functools import cache

from moe_teach.chapters.ch14_memory.inputs import some_trace
from moe_teach.chapters.ch14_memory.side_by_side import Request, found_in_memory, requests_of
from moe_teach.deploy.store.policies import Key


def exact_scores(uses: Iterable[tuple[Key, int]], half_life: float, now: int) -> dict[Key, float]:
    """Give log2 of every used expert's score at step `now`, use by use."""
    ages: dict[Key, list[float]] = {}
    for key, step in uses:
        ages.setdefault(key, []).append((now - step) / half_life)
    return {
        key: -min(own) + math.log2(math.fsum(2.0 ** (min(own) - age) for age in own))
        for key, own in ages.items()
    }


def some_uses(n_steps: int, seed: int, stride: int = 1) -> list[tuple[Key, int]]:
    """Draw uses of few experts over many steps; some steps use several, and some are left out."""
    draw = random.Random(seed)
    keys = [Key(layer, expert) for layer in range(2) for expert in range(4)]
    liking = [draw.random() ** 2 + 0.02 for _ in keys]
    uses = []
    for step in range(n_steps):
        if step % 7 != 3:
            chosen = dict.fromkeys(draw.choices(keys, liking, k=draw.randint(1, 3)))
            uses += [(key, stride * step) for key in chosen]
    return uses


class Exact:
    """The policy by its definition, slow: every use is kept and counted anew."""

    per_layer = False

    def __init__(self, half_life: float) -> None:
        self.half_life, self.uses, self.now = half_life, [], 0

    def use(self, key: Key, step: int) -> None:
        """Write a use down."""
        self.uses.append((key, step))
        self.now = step

    def worth(self, key: Key) -> float:
        """Add up what is left of its uses."""
        own = [use for use in self.uses if use[0] == key]
        return exact_scores(own, self.half_life, self.now)[key] if own else -math.inf


@cache
def found_by_exact(seed: int, rooms: tuple[int, ...]) -> tuple[list[Request], list[int]]:
    """Give what a trace asks for, and how many experts the exact policy finds in each room."""
    requests = requests_of(some_trace(seed, n_tokens=60))
    policies = [Exact(3.3) for _ in rooms]
    found = found_in_memory(policies, [requests] * len(rooms), rooms)
    return requests, list(map(sum, found))
