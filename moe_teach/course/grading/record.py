"""What travels through grading: a submission, the answers found in it, and what became of each.

A file or an archive becomes `Submission`s (`collect`), each of them `Answers` (`recover`), each
exercise of these a `Graded` (`judge`), and all of them lines of the journal.
"""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal[
    "passed",
    "partial",
    "failed",
    "not_attempted",
    "missing",
    "load_error",
    "timeout",
    "memory",
    "crashed",
    "invalid_result",
    "ungraded",
]
"""`ungraded` is the only one without points: zero is a decision and never a default."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One file that somebody handed in: who, what it was called, and its bytes."""

    student: str
    name: str
    content: bytes
    sha256: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnswerCell:
    """One code cell of a submission in its order; `exercise` is empty for a helper or an import."""

    source: str
    exercise: str = ""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was found in a submission: cells to load in order, and where each answer was found.

    `problem` is the one sentence that says why nothing can be graded; then there are no cells.
    `missing` lists exercises of the chapter without a cell; `unclear` says, by exercise, why a
    teacher must choose the answer: these stay ungraded. `flags` are for the teacher's eyes, by
    exercise or, under the empty key, of the whole submission.
    """

    submission: Submission
    chapter: int
    cells: tuple[AnswerCell, ...] = ()
    missing: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    unclear: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the code of one answer may use: seconds of one check, and megabytes."""

    seconds: float | int
    memory_mb: int = 4096


@dataclass(frozen=True, kw_only=True)
class Graded:
    """What became of one exercise of one submission.

    `message`, `cause` and `cure` are the learner's, in the words of the checks; `detail` is the
    teacher's. `points` is None exactly where `status` is "ungraded". `tier` says how the code was
    kept apart (`confine.TIERS`); `flags` what deserves a look.
    """

    exercise: str
    version: int
    status: Status
    points: float | None
    max_points: float
    message: str = ""
    cause: str = ""
    cure: str = ""
    stage: str = ""
    detail: str = ""
    seconds: float = 0.0
    peak_mb: int = 0
    seed: int = 0
    tier: int = 0
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.points is None) != (self.status == "ungraded"):
            raise ValueError(
                f"Exercise {self.exercise} is {self.status} with points {self.points}: an ungraded "
                "exercise has none, and every other has a number."
            )
