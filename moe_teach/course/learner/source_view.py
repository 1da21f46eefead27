"""Shows library code as it really is, so that a lesson never retypes it."""

import inspect
import textwrap
from typing import Any

from moe_teach.course.learner.notes import Note


def show(thing: Any) -> Note:
    """Show the source of a function, class, method or module of the library, highlighted.

    Raises `TypeError` in a sentence for things that have no Python source.
    """
    thing = inspect.unwrap(getattr(thing, "fget", None) or thing)
    if not (inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)):
        name = type(thing).__name__
        raise TypeError(f"show() wants a function, class, method or module, but got {name}.")
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError) as problem:
        name = getattr(thing, "__qualname__", repr(thing))
        raise TypeError(f"{name} has no Python source to show.") from problem
    return Note(title=_full_name(thing), code=textwrap.dedent(source).strip("\n"), icon="{}")


def _full_name(thing: Any) -> str:
    if inspect.ismodule(thing):
        return thing.__name__
    return f"{thing.__module__}.{thing.__qualname__}"
