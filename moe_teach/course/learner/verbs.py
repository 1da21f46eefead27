"""The words a learner types: check, hint, solution, progress, reset."""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.feedback import Score
from moe_teach.course.learner.notes import Note
from moe_teach.judging import engine, questions
from moe_teach.judging.exercise import MISSING, Exercise, Question
from moe_teach.judging.outcome import Outcome


def check(item_id: str = "", answer: Any = MISSING) -> Score:
    """Judge an answer: `check("3.1", topk_route)` for an exercise, `check("3.q1", "b")` for a
    question. Returns the points as a number that shows itself as feedback; never raises.
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
    return Score(_remembered(item, outcome))


def hint(item_id: str = "", level: int | None = None) -> Note:
    """Show a hint: the next unread one, or the given `level` (1 idea, 2 sketch, 3 almost code).

    Reading hints is recorded for you to see and costs nothing.
    """
    try:
        item = registry.find(item_id)
    except registry.UnknownId as unknown:
        return Note("No such hint", str(unknown))
    count = len(item.hints)
    if not count:
        return Note("No hints here", f"{item.id} has no hints: any answer tells you more.")
    if level is None:
        level = min(max(_opened(item.id), default=0) + 1, count)
    if level not in range(1, count + 1):
        return Note("No such hint", f"{item.id} has hints 1 to {count}.")
    _save(lambda: ledger.open_hint(item.id, level))
    more = f'hint("{item.id}", {level + 1})' if level < count else f'solution("{item.id}")'
    text = f"{item.hints[level - 1]}\n\nStill stuck? `{more}`"
    return Note(f"Hint {level} of {count} for {item.id} {item.title}", text)


def solution(item_id: str = "") -> Note:
    """Show the course's solution with its explanation; reading it is recorded, not punished."""
    try:
        item = registry.find(item_id)
        if isinstance(item, Question):
            return _answer_to(item)
        code = materials.without_markers(materials.solution_cell(item))
    except (registry.UnknownId, materials.MissingMaterial) as missing:
        return Note("No solution to show", str(missing))
    _save(lambda: ledger.open_solution(item.id))
    return Note(f"Solution of {item.id} {item.title}", item.explanation, code)


def reset(item_id: str = "") -> Note:
    """Forget what is recorded about an exercise and show its starting code to paste back."""
    try:
        item = registry.find(item_id)
        is_exercise = isinstance(item, Exercise)
        code = materials.starter_of(materials.solution_cell(item)) if is_exercise else ""
    except (registry.UnknownId, materials.MissingMaterial) as missing:
        return Note("Nothing to reset", str(missing))
    _save(lambda: ledger.forget(item.id))
    text = "Your record for it is empty again."
    if code:
        text += " This is the code it started from; paste it over yours to begin afresh."
    return Note(f"Reset {item.id} {item.title}", text, code)


def progress(chapter: int | str | None = None) -> Note:
    """Show every exercise with what you have done on it, and where to go next.

    With `chapter` (a number) only that chapter's.
    """
    try:
        items = list(registry.every_item() if chapter is None else _chapter(chapter))
    except registry.UnknownId as unknown:
        return Note("No such chapter", str(unknown))
    done = ledger.read()
    exercises = [item for item in items if isinstance(item, Exercise)]
    rows = tuple(_row(item, done.of(item.id)) for item in exercises)
    passed = sum(done.of(item.id).state == "passed" for item in exercises)
    answered = sum(
        done.of(item.id).state == "passed" for item in items if isinstance(item, Question)
    )
    n_questions = len(items) - len(exercises)
    text = (
        f"{passed} of {len(exercises)} exercises passed, "
        f"{answered} of {n_questions} questions answered."
    )
    following = next((i for i in exercises if done.of(i.id).state != "passed"), None)
    if following:
        text += f' Next: {following.id} "{following.title}".'
    header = ("exercise", "title", "state", "points", "tries", "hints", "solution")
    return Note("Your progress", text, header=header, rows=rows)


def _chapter(chapter: int | str) -> Iterable[registry.Item]:
    if not str(chapter).isdigit():
        raise registry.UnknownId("A chapter is named by its number: progress(3).")
    return registry.load(int(chapter)).values()


def _row(item: Exercise, record: ledger.Record) -> tuple[str, ...]:
    state = record.state
    if state == "passed" and record.passed_version != item.version:
        state = "passed (an earlier version)"
    return (
        item.id,
        item.title,
        state,
        f"{record.points:g}/{item.points:g}",
        str(record.attempts),
        ", ".join(map(str, record.hints)) or "-",
        "read" if record.solution_opened else "-",
    )


def _answer_to(question: Question) -> Note:
    _save(lambda: ledger.open_solution(question.id))
    answer = str(question.answer)
    if question.choices:
        answer = f"{answer}) {question.choices[answer]}"
    return Note(f"Answer to {question.id}", f"{answer}\n\n{question.because}")


def _remembered(item: registry.Item, outcome: Outcome) -> Outcome:
    """Record a judged attempt and name the next step."""
    if outcome.state in ("not attempted", "course problem"):
        return outcome
    problem = _save(
        lambda: ledger.count_attempt(item.id, outcome.state, item.version, outcome.earned)
    )
    step = _next_step(item, outcome)
    return replace(outcome, next_step="\n".join(part for part in (step, problem) if part))


def _next_step(item: registry.Item, outcome: Outcome) -> str:
    if outcome.state == "passed":
        is_exercise = isinstance(item, Exercise)
        return (
            f'Compare with ours, and why it works: `solution("{item.id}")`' if is_exercise else ""
        )
    if not item.hints:
        return ""
    level = min(max(_opened(item.id), default=0) + 1, len(item.hints))
    return f'Stuck? `hint("{item.id}", {level})`'


def _opened(item_id: str) -> tuple[int, ...]:
    try:
        return ledger.read().of(item_id).hints
    except OSError:
        return ()


def _save(action: Any) -> str:
    """Run a write to the progress file; a full or read-only disk must not cost the feedback."""
    if os.environ.get("NBGRADER_EXECUTION"):
        return ""
    try:
        action()
    except OSError as problem:
        return f"(Your progress could not be saved: {problem.strerror or problem}.)"
    return ""


def _note(item_id: str, state: Any, message: str) -> Outcome:
    return Outcome(item_id=item_id, title="", state=state, points=0.0, message=message)
