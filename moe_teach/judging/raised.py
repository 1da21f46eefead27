"""Says what an error in a learner's code most likely comes from.

Torch and Triton speak to those who know them; the sentences here speak of what was written.
"""

import re

from moe_teach.judging import folding
from moe_teach.judging.guard import TookTooLong


def sentence(error: BaseException, name: str, limit: float | int) -> str:
    """Put an error that `name` raised into words, with its likely cause where one is known."""
    if isinstance(error, TookTooLong):
        return (
            f"{name} did not come back within {limit:g} seconds and was stopped. Is there a loop "
            "that never ends?"
        )
    if isinstance(error, RecursionError):
        return f"{name} calls itself without end (RecursionError)."
    if isinstance(error, SystemExit):
        return f"{name} tried to end Python (SystemExit). Return a value instead."
    if isinstance(error, KeyboardInterrupt):
        return f"{name} was interrupted before it returned (KeyboardInterrupt)."
    if isinstance(error, MemoryError):
        return f"{name} asked for more memory than there is (MemoryError)."
    text = f"{name} raised {plainly(error)}"
    meant = folding.near_name(error)
    cause = f"Did you mean `{meant}`?" if meant else likely_cause(error)
    return f"{text.rstrip('.')}. {cause}" if cause else text


def plainly(error: BaseException) -> str:
    """Give an error's kind and its own text, cut where it becomes long."""
    try:
        text = str.__str__(str(error)).strip()
    except Exception:  # a learner's exception may have a broken __str__
        text = ""
    return f"{type(error).__name__}: {text[:600]}" if text else type(error).__name__


def likely_cause(error: BaseException) -> str:
    """Give the sentence for an error of torch or Triton that is known here, else nothing."""
    said = plainly(error)
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, said, re.S)), "")


_CAUSES: tuple[tuple[str, str], ...] = ()
