"""What is known of an error, or of an answer, that lives in another process.

A grader keeps the learner's code apart. What it hears of an error there stands in for the
traceback, which cannot travel; and an answer that is gone ends the check without a verdict of it.
"""

import inspect
import traceback
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Elsewhere:
    """The learner's own frames of an error, the name that was meant, and whether a kernel ran."""

    frames: tuple[traceback.FrameSummary, ...] = ()
    near: str = ""
    in_kernel: bool = False


class Gone(BaseException):
    """The process of an answer ended, or what it sent is nothing that can be judged."""


def told_of(error: BaseException) -> Elsewhere | None:
    """Give what another process told of an error that arose there."""
    told = getattr(error, "elsewhere", None)
    return told if type(told) is Elsewhere else None


def ability(answer: Any, name: str) -> Any:
    """Give what an answer that lives elsewhere can do there, such as a watched launch."""
    kind = f"elsewhere_{name}"
    return getattr(inspect.unwrap(answer, stop=lambda one: hasattr(one, kind)), kind, None)
