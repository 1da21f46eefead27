"""The word `progress`: all chapters at a glance, or one chapter's exercises one by one."""

import re
from collections.abc import Iterable

from moe_teach.course import registry
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.notes import Note
from moe_teach.course.learner.recording import paragraphs, recorded
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.questions import Question

_SIGNS = {"passed": "✓", "wrong": "✗", "raised": "✗"}
_BY_CHAPTER = ("chapter", "about", "exercises", "", "questions", "next")
_BY_EXERCISE = ("exercise", "title", "state", "points", "tries", "hints", "solution")


def progress(chapter: int | str | None = None) -> Note:
    """Show what you have done in every chapter, and where to go next.

    With `chapter` (a number) that chapter's exercises, one by one.
    """
    try:
        items = list(
            registry.every_item()
            if chapter is None
            else registry.load(chapter_number(chapter)).values()
        )
    except registry.UnknownId as unknown:
        return Note("No such chapter", str(unknown))
    done, problem = recorded()
    exercises = [item for item in items if isinstance(item, Exercise)]
    asked = [item for item in items if isinstance(item, Question)]
    text = (
        f"{_passed(exercises, done)} of {len(exercises)} exercises passed, "
        f"{_passed(asked, done)} of {len(asked)} questions answered."
    )
    if following := _next(exercises, done):
        text += f' Next: {following.id} "{following.title}".'
    if chapter is None:
        text += " One chapter's exercises: `progress(3)`."
        rows = tuple(_chapter_row(number, done) for number in registry.chapters())
    else:
        rows = tuple(_row(item, done.of(item.id)) for item in exercises)
    header = _BY_CHAPTER if chapter is None else _BY_EXERCISE
    return Note("Your progress", paragraphs(text, problem), header=header, rows=rows)


def title_of(chapter: int) -> str:
    """Give what a chapter is about, in a word or two."""
    return registry.chapters()[chapter][3:].replace("_", " ").replace("moe", "MoE")


def chapter_number(chapter: int | str) -> int:
    """Read which chapter is meant; `UnknownId` says how one is named."""
    if not re.fullmatch("[0-9]+", str(chapter)):
        raise registry.UnknownId(f"A chapter is named by its number, as 3, and not {chapter!r}.")
    return int(chapter)


def _chapter_row(number: int, done: ledger.Progress) -> tuple[str, ...]:
    items = registry.load(number).values()
    exercises = [item for item in items if isinstance(item, Exercise)]
    asked = [item for item in items if isinstance(item, Question)]
    following = _next(exercises, done)
    return (
        f"{number:02d}",
        title_of(number),
        f"{_passed(exercises, done)} of {len(exercises)}",
        "".join(_SIGNS.get(done.of(item.id).state, "·") for item in exercises),
        f"{_passed(asked, done)} of {len(asked)}",
        following.id if following else "-",
    )


def _next(exercises: list[Exercise], done: ledger.Progress) -> Exercise | None:
    return next((item for item in exercises if done.of(item.id).state != "passed"), None)


def _passed(items: Iterable[registry.Item], done: ledger.Progress) -> int:
    return sum(done.of(item.id).state == "passed" for item in items)


def _row(item: Exercise, record: ledger.Record) -> tuple[str, ...]:
    state = record.state
    if state == "passed" and record.passed_version != item.version:
        state = "passed (an earlier version)"
    if item.goal and record.best is not None and record.best_version == item.version:
        state += f", best {item.goal.spelt(record.best)}"
    return (
        item.id,
        item.title,
        state,
        f"{record.points:g}/{item.points:g}",
        str(record.attempts),
        ", ".join(map(str, record.hints)) or "-",
        "read" if record.solution_opened else "-",
    )
