"""Judges the answer to a question of a lesson."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from moe_teach.judging.compare import describe
from moe_teach.judging.exercise import MISSING
from moe_teach.judging.guard import fresh_session, looked_at
from moe_teach.judging.outcome import Outcome


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


def run_question(question: Question, answer: Any) -> Outcome:
    """Compare `answer` with the right one; the right answer is told only to those who gave it."""
    blank = Outcome(
        item_id=question.id, title=question.title, state="wrong", points=question.points
    )
    if answer is MISSING or answer is Ellipsis:
        return replace(blank, state="not attempted", message=ask(question))
    unreadable = "This answer cannot be read: looking at it raises an error or never ends."
    lost = replace(blank, message=f"{unreadable} {_what_fits(question, '')}")
    with fresh_session():
        return looked_at(lambda: _judged(question, answer, blank), lost)


def ask(question: Question) -> str:
    """Write the question with its choices and how to answer it."""
    lines = [question.prompt]
    lines += [f"  {letter}) {text}" for letter, text in question.choices.items()]
    example = next(iter(question.choices), None)
    how = f'"{example}"' if example else "0.5"
    lines.append(f'Answer in the cell, e.g. check("{question.id}", {how}).')
    return "\n".join(lines)


def _judged(question: Question, answer: Any, blank: Outcome) -> Outcome:
    given = _as_given(question, answer)
    if given is None:
        return replace(blank, got=describe(answer), message=_what_fits(question, answer))
    if question.accepts(given):
        return replace(blank, state="passed", earned=blank.points, message=question.because)
    if question.choices:
        reply = question.replies.get(str(given), "That is not it. Read the choice once more.")
        return replace(blank, got=f"{given}) {question.choices[str(given)]}", message=reply)
    return replace(blank, got=describe(answer), message=_how_far(question, float(given)))


def _as_given(question: Question, answer: Any) -> str | float | None:
    if question.choices:
        letter = str(answer).strip().lower().rstrip(").")
        return letter if letter in question.choices else None
    if isinstance(answer, bool | str):
        return None
    try:
        number = float(answer)  # numbers of every library, and tensors with one entry
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _what_fits(question: Question, answer: Any) -> str:
    if question.choices:
        return f"Choose one of the letters {', '.join(question.choices)}."
    if isinstance(answer, str) and answer:
        return "The answer is a number: write it without quotes and without a unit."
    return "The answer is a number."


def _how_far(question: Question, given: float) -> str:
    right = float(question.answer)
    slips = {abs(given - number): reply for number, reply in question.misconceptions.items()}
    nearest = min(slips, default=math.inf)
    if nearest <= max(question.tolerance, 1e-9 * abs(given)):
        return slips[nearest]
    if 0 < right < 1 and question.accepts(given / 100):
        return "That is a percentage. Give it as a share, a number between 0 and 1."
    side = "high" if given > right else "low"
    far = abs(given - right) > abs(right)
    return f"Too {side}{', and by far' if far else ''}. Work it out once more."
