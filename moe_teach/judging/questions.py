"""Judges the answer to a question of a lesson."""

import math
from dataclasses import replace
from typing import Any

from moe_teach.judging.exercise import MISSING, Question
from moe_teach.judging.guard import fresh_session, looked_at
from moe_teach.judging.outcome import Outcome
from moe_teach.judging.wording import describe


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
