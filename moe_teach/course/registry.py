"""Finds exercises, questions and named answers by id, importing chapters when first asked for."""

import importlib
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from moe_teach.chapters import CHAPTERS
from moe_teach.judging.exercise import Exercise, NamedAnswer
from moe_teach.judging.questions import Question

Item = Exercise | Question


class UnknownId(LookupError):
    """No exercise or question carries this id; the message says which ones exist."""


def chapters() -> dict[int, str]:
    """Give the slug of every chapter that has checks, e.g. `{3: "03_router"}`."""
    return {int(room[2:4]): room[2:] for room in CHAPTERS}


@cache
def room(chapter: int) -> ModuleType:
    """Import a chapter's room; `UnknownId` says which chapters there are."""
    slug = chapters().get(chapter)
    if slug is None:
        known = ", ".join(f"{number:02d}" for number in chapters())
        raise UnknownId(f"There is no chapter {chapter:02d} with exercises. There are: {known}.")
    return importlib.import_module(f"moe_teach.chapters.ch{slug}")


@cache
def load(chapter: int) -> dict[str, Item]:
    """Give a chapter's exercises and questions by id, in the order of the room's lists."""
    home = room(chapter)
    found: dict[str, Item] = {}
    for item in (*home.EXERCISES, *home.QUESTIONS):
        if item.id in found:
            raise ValueError(f"Two definitions in {home.__name__} carry the id {item.id!r}.")
        if item.chapter != chapter:
            raise ValueError(f"{home.__name__} defines {item.id!r}, of another chapter.")
        found[item.id] = item
    return found


def find(item_id: str) -> Item:
    """Give the exercise or question with this id; `UnknownId` says in a sentence what exists."""
    if not isinstance(item_id, str):
        raise UnknownId('An id is written in quotes, for example check("3.1", ...).')
    if not item_id:
        raise UnknownId('Which one? Give an id in quotes, like "3.1" (chapter 3, exercise 1).')
    number = item_id.partition(".")[0]
    if not re.fullmatch("[0-9]+", number):
        raise UnknownId(
            f"{item_id!r} is not an id of this course. Ids look like '3.1' (chapter 3, exercise 1) "
            "or '3.q1' (chapter 3, question 1)."
        )
    items = load(int(number))
    if item_id not in items:
        raise UnknownId(f"There is no {item_id!r}. Chapter {number} has: {', '.join(items)}.")
    return items[item_id]


def find_exercise(item_id: str) -> Exercise:
    """Give the exercise with this id; a question's id is refused in a sentence."""
    item = find(item_id)
    if isinstance(item, Question):
        raise UnknownId(f"{item_id!r} is a question of the lesson, not an exercise.")
    return item


def every_item() -> Iterator[Item]:
    """Walk through the exercises and questions of all chapters, in order."""
    for chapter in chapters():
        yield from load(chapter).values()


def answers_for(exercise: Exercise) -> list[NamedAnswer]:
    """Give the named right and wrong answers to an exercise; they stand beside its check."""
    importlib.import_module(f"{exercise.module}_answers")
    return exercise.answers
