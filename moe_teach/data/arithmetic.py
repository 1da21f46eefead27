"""Arithmetic, generated: sums, differences and products of small numbers, one a line.

The facts `b + c = a`, `c + b = a`, `a - b = c` and `a - c = b` are one family: they say the same
thing. A family belongs to one side for good, so validation asks only for sums whose operands were
never added, in either order, nor taken apart in training. Products: likewise.
"""

import itertools
import random
from functools import cache

from moe_teach.data.pieces import Documents, Side, side_of

LARGEST_TERM, LARGEST_FACTOR = 99, 12
DOCUMENTS = {"train": 230, "validation": 25}
OPERATIONS = "++++----*"
LINES = 500  # of a document


def arithmetic_documents(side: Side) -> Documents:
    """Return the documents of one side."""
    return {str(number): _document(number, side) for number in range(DOCUMENTS[side])}


def family(b: int, c: int, operation: str) -> str:
    """Return the name of the family a pair of operands belongs to, in either order."""
    return f"{min(b, c)} {'*' if operation == '*' else '+'} {max(b, c)}"


@cache
def _pairs(operation: str, side: Side) -> list[tuple[int, int]]:
    """Return all pairs of operands whose family is on this side."""
    numbers = range((LARGEST_FACTOR if operation == "*" else LARGEST_TERM) + 1)
    pairs = itertools.product(numbers, numbers)
    return [(b, c) for b, c in pairs if side_of(family(b, c, operation)) == side]


def _document(number: int, side: Side) -> list[str]:
    rng = random.Random(f"{side} {number}")
    lines = []
    for operation in rng.choices(OPERATIONS, k=LINES):
        b, c = rng.choice(_pairs(operation, side))
        match operation:
            case "+":
                lines.append(f"{b} + {c} = {b + c}")
            case "-":
                lines.append(f"{b + c} - {b} = {c}")
            case "*":
                lines.append(f"{b} * {c} = {b * c}")
    return ["\n".join(lines)]
