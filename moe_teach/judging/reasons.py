"""Why an answer failed, as far as it can be told from what came out."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from moe_teach.judging.compare import close


class Why(NamedTuple):
    """The likely cause of a failure and its cure, told at the second and the third one in a row."""

    cause: str = ""
    cure: str = ""


UNKNOWN = Why()


def likely(
    got: Any, expected: Any, slips: Iterable[tuple[Any, Why]], otherwise: Why = UNKNOWN
) -> dict[str, str]:
    """Name the first known mistake that gives `got`, for the keywords of `require`.

    A mistake that would give the right value here explains nothing, and a right value needs none.
    """
    if close(got, expected):
        return otherwise._asdict()
    found = (why for value, why in slips if close(got, value) and not close(value, expected))
    return next(found, otherwise)._asdict()
