"""Chapter 12: the new skill, remainders of divisions. Generated, and in no text of the corpus."""

import random
from functools import cache

from moe_teach.data.pieces import Side, side_of

SKILL = "remainders"
LARGEST_DIVISOR, N_LINES = 12, {"train": 6000, "validation": 1500}


@cache
def remainders(side: Side) -> str:
    """Return lines `a % b = r`; a pair of operands belongs to one side for good."""
    pairs = [
        (a, b)
        for a in range(100)
        for b in range(2, LARGEST_DIVISOR + 1)
        if side_of(f"{a} % {b}") == side
    ]
    drawn = random.Random(f"{SKILL} {side}").choices(pairs, k=N_LINES[side])
    return "\n".join(f"{a} % {b} = {a % b}" for a, b in drawn)
