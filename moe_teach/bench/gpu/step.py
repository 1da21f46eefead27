"""A step: one question to the GPU that is answered in seconds, in a process that may die of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

Row = dict[str, Any]
"""One fact that was found out, as plain data; a row with a "problem" is a fact as well."""

Kind = Literal["prepare", "correct", "limits", "kernels", "layer", "rivals", "tune"]

Verdict = Literal[
    "passed",  # everything was computed right
    "measured",  # there are timings; rows that have none say why
    "failed",  # something was computed wrong, or an error was raised
    "crashed",  # the process died, or the GPU took no more orders
    "out of memory",
    "out of time",  # stopped at the step's own limit
    "cut",  # running when the command was stopped: to be done again
]


@dataclass(frozen=True)
class Step:
    """One step; `run` gives its rows one by one, so that what was found survives a crash.

    `seconds` is about what it takes on a GPU: no step begins that would not fit into what is left.
    """

    name: str
    kind: Kind
    seconds: float
    run: Callable[[], Iterator[Row]]
    together: bool = False  # nothing is timed, so its neighbours of the list may run beside it
    lasts: bool = True  # False: what it does is lost with the machine, so every start repeats it
    package: str = ""  # is left out where this cannot be imported

    @property
    def limit_s(self) -> float:
        """Seconds after which it counts as hanging."""
        return 3 * self.seconds + 30

    @property
    def is_possible(self) -> bool:
        """Whether the package that it is about is there."""
        return not self.package or find_spec(self.package) is not None


def verdict_on(kind: Kind, rows: list[Row]) -> tuple[Verdict, str]:
    """Judge a step that came to its end, and say what was wrong."""
    wrong = [row for row in rows if row.get("verdict") == "wrong"]
    if wrong:
        return "failed", f"{len(wrong)} of {len(rows)} comparisons are wrong."
    if kind in ("correct", "prepare"):
        return "passed", ""
    if rows and all(row.get("problem") for row in rows):
        return "failed", f"Nobody could be measured: {rows[0]['problem']}"
    return "measured", ""
