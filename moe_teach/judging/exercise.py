"""What an exercise is: its card, its staged checks, its questions, and the words to write them in.

A check module defines `Exercise` and `Question` objects under names of their own and adds stages to
the exercises. A stage calls the learner's answer on inputs from a seed and states what must hold
with `require`. Nothing here runs a check; that is the engine's work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = [
    "MISSING",
    "Exercise",
    "NamedAnswer",
    "Question",
    "Stage",
    "Words",
    "WrongAnswer",
    "generator",
    "require",
]

Answer = TypeVar("Answer", bound=Callable[..., Any])
StageFunction = Callable[[Any, int], None]


class _Missing:
    """The value of something that was not given; `None` may be a real answer."""

    def __repr__(self) -> str:
        return "not given"


MISSING: Any = _Missing()


class Words(str):
    """A description in the place of a value ("a float"); feedback shows it without quotes."""

    __slots__ = ()


class WrongAnswer(Exception):
    """An answer broke a requirement; carries what the learner needs to see why."""

    def __init__(
        self,
        message: str,
        *,
        cause: str = "",
        cure: str = "",
        expected: Any = MISSING,
        got: Any = MISSING,
        example: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.cure = cure
        self.expected = expected
        self.got = got
        self.example = example or {}


def require(
    condition: Any,
    message: str,
    *,
    cause: str = "",
    cure: str = "",
    expected: Any = MISSING,
    got: Any = MISSING,
    example: dict[str, Any] | None = None,
) -> None:
    """Reject the answer unless `condition` holds.

    `message` is one or two full sentences: what was seen to be wrong. `cause` is the likely reason
    and `cure` what to do about it; learners meet them at the second and the third failure in a
    row. `example` names the inputs of the failing call. Raises `WrongAnswer`.
    """
    if not bool(condition):
        raise WrongAnswer(
            message, cause=cause, cure=cure, expected=expected, got=got, example=example
        )


@dataclass(frozen=True)
class Stage:
    """One named step of a check."""

    name: str
    run: StageFunction


@dataclass(frozen=True)
class NamedAnswer:
    """Somebody's answer to an exercise, and what the check must make of it.

    A wrong one is turned away by `stage` with a message that contains `says`.
    """

    answer: Callable[..., Any]
    is_right: bool
    stage: str = ""
    says: str = ""


@dataclass(kw_only=True)
class Exercise:
    """The card of one exercise and its stages, which run in the order of their definition.

    `id` is chapter.number and never changes; `name` is the function or class the learner writes.
    `limit` is the soft time limit of one check in seconds of wall time. `version` is raised by
    hand when what is asked changes, so that progress knows which form was passed. A function that
    changes its arguments is turned away, unless `changes_inputs` says that this is the task.
    """

    id: str
    name: str
    title: str
    hints: tuple[str, ...]
    explanation: str
    points: float | int = 1
    difficulty: int = 2
    importance: int = 3
    minutes: int = 10
    needs: tuple[str, ...] = ()
    limit: float | int = 10
    changes_inputs: bool = False
    version: int = 1
    stages: list[Stage] = field(default_factory=list)
    answers: list[NamedAnswer] = field(default_factory=list)

    def stage(self, name: str) -> Callable[[StageFunction], StageFunction]:
        """Add the decorated function as the next stage; it takes (answer, seed)."""

        def add(function: StageFunction) -> StageFunction:
            if any(known.name == name for known in self.stages):
                raise ValueError(f"Exercise {self.id} already has a stage called {name!r}.")
            self.stages.append(Stage(name, function))
            return function

        return add

    def wrong(self, *, stage: str, says: str) -> Callable[[Answer], Answer]:
        """Name the decorated function as a plausible mistake, and what it must be told."""

        def add(answer: Answer) -> Answer:
            self.answers.append(NamedAnswer(answer, is_right=False, stage=stage, says=says))
            return answer

        return add

    def right(self, answer: Answer) -> Answer:
        """Name the decorated function as another right way to solve the exercise."""
        self.answers.append(NamedAnswer(answer, is_right=True))
        return answer

    @property
    def module(self) -> str:
        """The module that defines its stages; its named answers stand beside it."""
        return self.stages[0].run.__module__

    @property
    def chapter(self) -> int:
        """The chapter this exercise belongs to."""
        return int(self.id.split(".")[0])


@dataclass(kw_only=True)
class Question:
    """A question of a lesson: choices with one right letter, or a number with a tolerance.

    `because` explains the right answer after it was given; `replies` answers tempting wrong
    choices, `misconceptions` the numbers that only one mistake leads to. `tolerance` is absolute,
    in the unit of the answer. `version` is raised by hand when what is asked changes.
    """

    id: str
    prompt: str
    answer: str | float | int
    because: str
    choices: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    misconceptions: dict[float | int, str] = field(default_factory=dict)
    tolerance: float | int = 0
    hints: tuple[str, ...] = ()
    points: float | int = 1
    version: int = 1

    def __post_init__(self) -> None:
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"Question {self.id}: the answer {self.answer!r} is not a choice.")
        unknown = set(self.replies) - set(self.choices)
        if unknown:
            raise ValueError(f"Question {self.id}: replies to unknown choices {sorted(unknown)}.")
        if self.choices and self.misconceptions:
            raise ValueError(
                f"Question {self.id}: with choices, a mistake is answered by `replies`."
            )
        right = [number for number in self.misconceptions if self.accepts(number)]
        if right:
            raise ValueError(f"Question {self.id}: {right[0]} is right and no misconception.")

    def accepts(self, answer: str | float | int) -> bool:
        """Say whether a letter or a number, already read from what the learner gave, is right."""
        if self.choices:
            return answer == self.answer
        # A hair of slack, so that an answer at the very edge is not lost to binary rounding.
        return abs(float(answer) - float(self.answer)) <= self.tolerance + 1e-12

    @property
    def title(self) -> str:
        """What lists call it."""
        return f"Question {self.id.partition('.q')[2]}"

    @property
    def chapter(self) -> int:
        """The chapter this question belongs to."""
        return int(self.id.split(".")[0])


def generator(seed: int) -> Any:
    """Give a torch generator, so that a stage's inputs depend on nothing but its seed."""
    import torch

    return torch.Generator().manual_seed(seed)
