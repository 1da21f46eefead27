"""Writes an export to its place, and refuses while anything is undecided and would stay blank."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moe_teach.course.grading.book import Book, Person
from moe_teach.course.grading.exports import documents, tables
from moe_teach.course.grading.exports.changes import last_changes
from moe_teach.files import write_atomically
from moe_teach.text_table import counted

FORMS = ("csv", "canvas", "moodle", "gradescope", "exercism", "json")
_BOM = "\ufeff"  # by which spreadsheets know UTF-8


class UngradedLeft(Exception):
    """Something is undecided; the message says what, and how to export all the same."""


def export(book: Book, form: str, to: Path, *, allow_ungraded: bool = False) -> list[Path]:
    """Write a gradebook in one of the `FORMS` and give the files.

    A platform's form with one file a student, or one a chapter, makes a folder of it.

    Raises:
        UngradedLeft: if anything is undecided, unless that is allowed.
    """
    if not allow_ungraded:
        _demand_decided(book)
    texts = _texts(book, form)
    is_folder = len(texts) != 1 or "" not in texts
    written = []
    for name, text in texts.items():
        file = to / name if is_folder else to
        write_atomically(file, text.encode("utf-8"))
        written.append(file)
    return written


def file_name(student: str) -> str:
    """Name a file after a student, in letters that every system has, and no two alike."""
    stem = re.sub(r"[^\w-]+", "_", student, flags=re.ASCII).strip("_")[:40]
    return f"{stem}-{hashlib.sha256(student.encode()).hexdigest()[:6]}".lstrip("-")


def _texts(book: Book, form: str) -> dict[str, str]:
    if form == "csv":
        return {"": _BOM + tables.plain(book)}
    if form == "canvas":
        return {"": tables.canvas(book)}
    if form == "moodle":
        chapters, changed = tables.chapters_of(book.exercises), last_changes(book.entries)
        return {f"chapter_{c:02d}.csv": tables.moodle(book, c, changed) for c in chapters}
    if form == "json":
        return {"": _json(documents.everything(book))}
    shape: Callable[[Person], dict[str, Any]]
    shape = documents.gradescope if form == "gradescope" else documents.exercism
    people = book.people.values()
    return {f"{file_name(p.student)}/results.json": _json(shape(p)) for p in people}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _demand_decided(book: Book) -> None:
    open_ones = [(p.student, told) for p in book.people.values() for told in p.ungraded]
    if not open_ones:
        return
    students = {student for student, _ in open_ones}
    shown = [f"  {student}: {told}" for student, told in open_ones[:10]]
    more = [f"  and {len(open_ones) - 10} more"] if len(open_ones) > 10 else []
    raise UngradedLeft(
        "\n".join(
            [
                f"Nothing was exported: of {counted(len(students), 'student')} something is not "
                "graded.",
                *shown,
                *more,
                "Decide with `moe-teach gradebook override`, let the files be handed in again, or "
                "leave these cells blank with --allow-ungraded.",
            ]
        )
    )
