"""The words a learner types: check, hint, solution, reset. They always answer."""

import operator
import os
import sys
from dataclasses import replace
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.feedback import Score, as_text
from moe_teach.course.learner.mine import carrying, parts
from moe_teach.course.learner.notes import Note
from moe_teach.course.learner.recording import paragraphs, recorded, saved
from moe_teach.judging import engine, questions
from moe_teach.judging.exercise import MISSING, Exercise
from moe_teach.judging.outcome import Outcome
from moe_teach.judging.questions import Question


def check(item_id: str = "", answer: Any = MISSING) -> Score:
    """Judge an answer: `check("3.1", topk_route)` for an exercise, `check("3.q1", "b")` for a
    question. Returns the points as a number that shows itself as feedback; never raises.
    An answer that passes is carried over into your own package, where `mine` finds it.
    """
    try:
        item = registry.find(item_id)
    except registry.UnknownId as unknown:
        shown = item_id if isinstance(item_id, str | int | float) else ""
        return Score(_note(str(shown), "not attempted", str(unknown)))
    except Exception as problem:
        message = f"{type(problem).__name__}: {problem} (while loading {item_id})"
        return Score(_note(str(item_id), "course problem", message))
    if isinstance(item, Question):
        outcome = questions.run_question(item, answer)
    else:
        outcome = engine.run_exercise(item, answer, reference=materials.reference)
    outcome, is_best = _against_the_best(item, _remembered(item, outcome))
    score = Score(_carried_over(item, answer, outcome) if is_best else outcome)
    _tell_a_validator(score)
    return score


def hint(item_id: str = "", level: int | None = None) -> Note:
    """Show a hint: the next unread one, or the given `level` (1 idea, 2 sketch, 3 almost code).

    Reading hints is recorded for you to see and costs nothing.
    """
    try:
        item = _find(item_id)
    except registry.UnknownId as unknown:
        return Note("No such hint", str(unknown))
    count = len(item.hints)
    if not count:
        return Note("No hints here", f"{item.id} has no hints: any answer tells you more.")
    asked = _next_hint(item) if level is None else _whole(level)
    if asked not in range(1, count + 1):
        return Note("No such hint", f"{item.id} has hints 1 to {count}.")
    _, problem = saved(lambda: ledger.open_hint(item.id, asked))
    more = f'hint("{item.id}", {asked + 1})' if asked < count else f'solution("{item.id}")'
    text = paragraphs(item.hints[asked - 1], f"Still stuck? `{more}`", problem)
    return Note(f"Hint {asked} of {count} for {item.id} {item.title}", text)


def solution(item_id: str = "") -> Note:
    """Show the course's solution with its explanation; reading it is recorded, not punished."""
    try:
        item = _find(item_id)
        if isinstance(item, Question):
            return _answer_to(item)
        code = materials.without_markers(materials.solution_cell(item))
    except (registry.UnknownId, materials.MissingMaterial) as missing:
        return Note("No solution to show", str(missing))
    _, problem = saved(lambda: ledger.open_solution(item.id))
    return Note(f"Solution of {item.id} {item.title}", paragraphs(item.explanation, problem), code)


def reset(item_id: str = "") -> Note:
    """Forget what is recorded about an exercise and show its starting code to paste back."""
    try:
        item = _find(item_id)
        is_exercise = isinstance(item, Exercise)
        code = materials.starter_of(materials.solution_cell(item)) if is_exercise else ""
    except (registry.UnknownId, materials.MissingMaterial) as missing:
        return Note("Nothing to reset", str(missing))
    _, problem = saved(lambda: ledger.forget(item.id))
    text = problem or "Your record for it is empty again."
    if code:
        text += " This is the code it started from; paste it over yours to begin afresh."
        text += parts.stays(item)
    return Note(f"Reset {item.id} {item.title}", text, code)


def _tell_a_validator(score: Score) -> None:
    """Give the reason of a failure to nbgrader's Validate, which shows only what went to stderr."""
    if os.environ.get("NBGRADER_EXECUTION") == "validate" and not score and score.outcome.points:
        print(as_text(score.outcome), file=sys.stderr)


def _find(item_id: str) -> registry.Item:
    """Find an item; whatever keeps it from being found becomes a sentence."""
    try:
        return registry.find(item_id)
    except registry.UnknownId:
        raise
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}"
        raise registry.UnknownId(f"{item_id!r} cannot be looked up here ({said}).") from problem


def _whole(number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError:
        return 0


def _answer_to(question: Question) -> Note:
    _, problem = saved(lambda: ledger.open_solution(question.id))
    answer = str(question.answer)
    if question.choices:
        answer = f"{answer}) {question.choices[answer]}"
    return Note(f"Answer to {question.id}", paragraphs(answer, question.because, problem))


def _remembered(item: registry.Item, outcome: Outcome) -> Outcome:
    """Record a judged attempt, tell as much as its failures in a row ask for, name the next step.

    The first failure shows what was seen, the second the likely cause too, the third the cure.
    """
    if outcome.state in ("not attempted", "course problem"):
        return outcome
    record, problem = saved(
        lambda: ledger.count_attempt(item.id, outcome.state, item.version, outcome.earned)
    )
    failures = record.failures if record else 3  # where nobody counts, nothing is held back
    return replace(
        outcome,
        cause=outcome.cause if failures >= 2 else "",
        cure=outcome.cure if failures >= 3 else "",
        next_step="\n".join(filter(None, (_next_step(item, outcome, record), problem))),
    )


def _against_the_best(item: registry.Item, outcome: Outcome) -> tuple[Outcome, bool]:
    """Keep the best figure of an open task; say whether this answer is no worse than it."""
    figure = outcome.measured
    if figure is None or not isinstance(item, Exercise) or item.goal is None:
        return outcome, True
    goal = item.goal
    record, _ = saved(lambda: ledger.keep_best(item.id, figure, item.version, goal.is_better))
    if record is None or record.best is None:
        return outcome, True
    is_best = not goal.is_better(record.best, figure)
    said = "Your best so far." if is_best else f"Your best so far stays {goal.spelt(record.best)}."
    return replace(outcome, next_step="\n".join(filter(None, (said, outcome.next_step)))), is_best


def _carried_over(item: registry.Item, answer: Any, outcome: Outcome) -> Outcome:
    """Make an answer that passed the learner's own, and tell what became of others meanwhile."""
    if not isinstance(item, Exercise):
        return outcome
    line = carrying.carry(item, answer) if outcome.state == "passed" else ""
    said = (outcome.next_step, line, carrying.news(apart_from=item))
    return replace(outcome, next_step="\n".join(filter(None, said)))


def _next_step(item: registry.Item, outcome: Outcome, record: ledger.Record | None) -> str:
    if outcome.state == "passed":
        is_exercise = isinstance(item, Exercise)
        return (
            f'Compare with ours, and why it works: `solution("{item.id}")`' if is_exercise else ""
        )
    return f'Stuck? `hint("{item.id}", {_next_hint(item, record)})`' if item.hints else ""


def _next_hint(item: registry.Item, record: ledger.Record | None = None) -> int:
    """Give the number of the next unread hint, of the last one where all are read."""
    known = record or recorded()[0].of(item.id)
    return min(max(known.hints, default=0) + 1, len(item.hints))


def _note(item_id: str, state: Any, message: str) -> Outcome:
    return Outcome(item_id=item_id, title="", state=state, points=0.0, message=message)
