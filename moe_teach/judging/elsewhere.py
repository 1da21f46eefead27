"""What is known of an error, or of an answer, that lives in another process.

A grader keeps the learner's code apart. What it hears of an error there stands in for the
traceback, which cannot travel; and an answer that is gone ends the check without a verdict of it.
"""

import inspect
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moe_teach.judging.traces import copied


@dataclass(frozen=True)
class Elsewhere:
    """The learner's own frames of an error, the name that was meant, and whether a kernel ran.

    Of calls that were made together, `call` is the one that raised, and `given` what it was given.
    """

    frames: tuple[traceback.FrameSummary, ...] = ()
    near: str = ""
    in_kernel: bool = False
    call: int | None = None
    given: dict[str, Any] = field(default_factory=dict)


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


def in_turn(calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call methods of an answer's objects one after the other, and give their results.

    A call is an object, the name of a method, and its arguments. Where the objects live elsewhere
    all calls are made in one message, so none of them may need what another one gives. Gradients of
    results that are one number come with them.
    """
    there = getattr(type(calls[0][0]), "elsewhere_in_turn", None) if calls else None
    if there:
        return there(calls)
    return [getattr(thing, name)(*args) for thing, name, *args in calls]


def repeated(function: Any, times: int, *args: Any) -> list[Any]:
    """Call a function many times with the same arguments; tensors are copied for each call.

    Where it lives elsewhere that takes one message. Nobody watches these calls.
    """
    if there := ability(function, "repeated"):
        return there(times, args)
    bare = inspect.unwrap(function)
    return [bare(*copied(args)) for _ in range(times)]
