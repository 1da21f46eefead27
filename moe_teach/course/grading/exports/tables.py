"""Grades as tables: plain, and as Canvas and Moodle read them.

An exercise that nobody has decided is a blank cell, never a zero. A cell that begins as a formula
would run in whoever's spreadsheet opens it; it gets a quote in front, as spreadsheets understand.
"""

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence

from moe_teach.course import registry
from moe_teach.course.grading.book import Book, Grade, Person
from moe_teach.course.grading.naming import parts_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def plain(book: Book) -> str:
    """Write one row a student, one column an exercise, and what to look at."""
    header = ("student", *book.exercises, "total", "of", "status", "needs_attention")
    rows = [
        (
            person.student,
            *(_points(person, exercise) for exercise in book.exercises),
            _number(person.total),
            _number(_best(person)),
            status_of(person),
            " | ".join(person.notices),
        )
        for person in book.people.values()
    ]
    return written([header, *rows])


def canvas(book: Book) -> str:
    """Write a table that Canvas imports into its gradebook, one assignment a chapter.

    Canvas matches students by its own number, which the names of downloaded files carry; its import
    skips blank cells. The second row says what can be had.
    """
    chapters = chapters_of(book.exercises)
    header = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", *map(titled, chapters))
    worth = [_number(_worth_of(book, chapter)) for chapter in chapters]
    rows = [("    Points Possible", "", "", "", "", *worth)]
    for person in book.people.values():
        name, number = parts_of(person.student)
        sums = [_number(chapter_sum(person, chapter)) for chapter in chapters]
        rows.append((name, number, "", "", "", *sums))
    return written([header, *rows])


def moodle(book: Book, chapter: int, changed: Mapping[tuple[str, int], str]) -> str:
    """Write one chapter as Moodle's offline grading worksheet, with feedback in the last column.

    Moodle takes no worksheet without the time of the grade: by it a grade that somebody changed
    there since stays. It knows its own columns by their English names.

    Args:
        book: whose grades are written.
        chapter: which one.
        changed: the times, by student and chapter, as `last_changes` gives them.
    """
    header = (
        "Identifier",
        "Full name",
        "Grade",
        "Maximum grade",
        "Last modified (grade)",
        "Feedback comments",
    )
    rows = []
    for person in book.people.values():
        if not any(_chapter(exercise) == chapter for exercise in person.grades):
            continue
        name, number = parts_of(person.student)
        points = _number(chapter_sum(person, chapter))
        identifier = f"Participant {number}" if number else ""
        worth = _number(_worth_of(book, chapter))
        about = (changed[person.student, chapter], _comments(person, chapter))
        rows.append((identifier, name, points, worth, *about))
    return written([header, *rows])


def left_out_by_moodle(book: Book) -> list[str]:
    """Name the students whom Moodle cannot find: it knows people by its own numbers alone."""
    return [person.student for person in book.people.values() if not parts_of(person.student)[1]]


def written(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as CSV, no cell of which a spreadsheet would take for a formula."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerows([guarded(c) for c in row] for row in rows)
    return stream.getvalue()


def guarded(cell: str) -> str:
    """Put a quote before what begins as a formula does."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) or cell[:1] in _FORMULA else cell


def status_of(person: Person) -> str:
    """Say in one word how a student stands."""
    if person.ungraded:
        return "ungraded"
    return "complete" if person.total == _best(person) else "graded"


def chapters_of(exercises: Iterable[str]) -> list[int]:
    """Give the chapters that exercises belong to."""
    return sorted({_chapter(exercise) for exercise in exercises})


def titled(chapter: int) -> str:
    """Name a chapter as an assignment."""
    return f"Chapter {chapter:02d} {registry.chapters().get(chapter, '')[3:].replace('_', ' ')}"


def comment(exercise: str, grade: Grade) -> str:
    """Say what an exercise got and why."""
    points = "not graded yet" if grade.points is None else f"{grade.points:g}"
    said = grade.by_hand["because"] if grade.by_hand else grade.result["message"]
    return f"{exercise}: {points} of {grade.max_points:g}. {said}".strip()


def chapter_sum(person: Person, chapter: int) -> float | None:
    """Add a student's points of one chapter; None if there are none or if one is undecided."""
    points = [grade.points for e, grade in person.grades.items() if _chapter(e) == chapter]
    if not points or None in points:
        return None
    return sum((p for p in points if p is not None), 0.0)


def _comments(person: Person, chapter: int) -> str:
    """Say in HTML, which Moodle takes comments for, what each exercise got and why."""
    told = [comment(e, grade) for e, grade in person.grades.items() if _chapter(e) == chapter]
    return "<br>".join(html.escape(line, quote=False) for t in told for line in t.splitlines())


def _points(person: Person, exercise: str) -> str:
    return _number(person.grades[exercise].points) if exercise in person.grades else ""


def _best(person: Person) -> float:
    return sum((grade.max_points for grade in person.grades.values()), 0.0)


def _worth_of(book: Book, chapter: int) -> float:
    return sum((book.max_points(e) for e in book.exercises if _chapter(e) == chapter), 0.0)


def _chapter(exercise: str) -> int:
    return int(exercise.partition(".")[0])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
