"""What an exercise is: its card, its staged checks, its named answers, and the words for them.

A module of a chapter's room defines one `EXERCISE` and adds stages to it. A stage calls the
learner's answer on inputs from a seed and states what must hold with `require`. Nothing here runs a
check; that is the engine's work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from moe_teach.judging.compare import Words, is_tensor
from moe_teach.judging.goals import Goal

__all__ = [
    "MISSING",
    "Exercise",
    "Goal",
    "NamedAnswer",
    "Stage",
    "Words",
    "WrongAnswer",
    "generator",
    "require",
    "require_gates_and_ids",
    "require_tensor",
    "require_tensors",
]

Answer = TypeVar("Answer", bound=Callable[..., Any])
StageFunction = Callable[[Any, int], Any]


class _Missing:  # `None` may be a real answer
    def __repr__(self) -> str:
        return "not given"


MISSING: Any = _Missing()


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


# By the name of a kind: what to call it, what a tensor most likely became one by, and the way back.
_WAYS = {
    "ndarray": ("a NumPy array", "`.numpy()`", "Use the torch function of the same name."),
    "list": ("a list", "`.tolist()`, or [ ]", "`torch.stack` makes one tensor of a list of them."),
    "tuple": ("a tuple", "a comma, or two results", "Return the one tensor alone."),
    "float": ("a plain Python number", "`.item()`", "Leave it out: it also cuts the gradient."),
    "int": ("a plain Python number", "`.item()` or `int(...)`", "Leave it out."),
}
_COUNTS = {2: "two", 3: "three", 4: "four"}


def require_tensors(got: Any, names: tuple[str, ...], example: dict[str, Any]) -> None:
    """Reject what is not a tuple of exactly these tensors.

    Says which of them came as what, so that nobody looks for a wrong shape in a right list.
    """
    listed = ", ".join(names)
    require(
        isinstance(got, tuple) and len(got) == len(names),
        f"This is not a tuple of {_COUNTS[len(names)]} tensors, `{listed}`.",
        cause="Brackets after `return` make a list, a bare name hands back one result only, and "
        "what is left out is missing.",
        cure=f"End in `return {listed}`, in this order.",
        got=got,
        example=example,
    )
    for name, part in zip(names, got, strict=True):
        _one(part, f"`{name}`", got, example)


def require_tensor(got: Any, example: dict[str, Any]) -> None:
    """Reject an answer that is anything but one tensor."""
    _one(got, "The answer", got, example)


def require_gates_and_ids(got: Any, n_tokens: int, top_k: int, /, **example: Any) -> None:
    """Reject what is not `(gates, expert_ids)`, both (T, K), the ids integers."""
    require_tensors(got, ("gates", "expert_ids"), example)
    for name, part in zip(("gates", "expert_ids"), got, strict=True):
        require(
            part.shape == (n_tokens, top_k),
            f"`{name}` has another shape than ({n_tokens}, {top_k}): one row per token and one "
            "column per chosen expert.",
            cause="The experts that were not chosen are still there, or an axis was summed, "
            "squeezed or chosen from that should have stayed.",
            cure="`topk(top_k, dim=-1)` gives both in this shape; what follows keeps it.",
            got=part,
            example=example,
        )
    require(
        not got[1].is_floating_point(),
        "`expert_ids` holds floats, where the positions of the experts belong.",
        cause="The two results are swapped, or the positions were converted.",
        cure="`topk` gives values first and indices second: return them in this order, as they "
        "are.",
        got=got[1],
        example=example,
    )


def _one(part: Any, what: str, shown: Any, example: dict[str, Any]) -> None:
    kind = type(part).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    called, by, cure = _WAYS.get(kind, (f"{article} {kind}", "", ""))
    require(
        is_tensor(part),
        f"{what} must be a torch tensor, and came as {called}.",
        cause=f"A tensor becomes {called} by {by}." if by else "",
        cure=cure,
        got=shown,
        example=example,
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
    changes its arguments is turned away, unless `changes_inputs` says that this is the task. The
    `goal` of an open task is measured after all stages.
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
    goal: Goal | None = None
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
        """Its chapter."""
        return int(self.id.split(".")[0])


def generator(seed: int) -> Any:
    """Give a torch generator, so that a stage's inputs depend on nothing but its seed."""
    import torch

    return torch.Generator().manual_seed(seed)
