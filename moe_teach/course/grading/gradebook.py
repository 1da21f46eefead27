"""The gradebook as a SQLite file, made of the journal; points given by hand; one student's page.

The file is for questions of a teacher's own. It is written anew and never read here, so whoever
damages it has damaged a copy.
"""

import difflib
import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from moe_teach.course.grading.book import Book, Person, book_of
from moe_teach.course.grading.journal import Entry, Journal, override
from moe_teach.files import replacing
from moe_teach.text_table import aligned

_MOST_NAMED = 5  # students, where one was not found
_SAID = 80  # signs of a message that fit beside the other columns
_SCHEMA = """
create table hand_ins (
    student text, name text, chapter integer, why text, flags text, sha256 text
);
create table grades (
    student text, exercise text, status text, points real, max_points real, automatic_points real,
    by_whom text, because text, stage text, message text, cause text, cure text, detail text,
    version integer, seed integer, tier integer, needs_attention text, sha256 text,
    primary key (student, exercise)
);
create table measured (student text, exercise text, seconds real, peak_mb integer, at text);
create table history (
    number integer primary key, at text, kind text, student text, exercise text, status text,
    points real, by_whom text, because text, version integer, message text, sha256 text
);
"""


def rebuild(journal: Journal) -> Book:
    """Make the SQLite file of a gradebook anew, and give what is in it.

    Raises:
        JournalError: if the journal cannot be read.
    """
    entries = list(journal.entries())
    book = book_of(entries)
    with replacing(journal.folder / "gradebook.sqlite") as file:
        _write(file, book, entries)
    return book


def set_points(
    journal: Journal,
    student: str,
    exercise: str,
    points: float | int | None,
    *,
    by: str,
    because: str,
) -> str:
    """Give points by hand, or take them back (None), and say so; the record of it is never lost.

    Raises:
        LookupError: if there is no such student or exercise in the gradebook.
        ValueError: if the points are none that can be had, or no reason is given.
    """
    if not because.strip():
        raise ValueError("Say why, with --because: whoever reads the gradebook next will ask.")
    with journal.opened() as writer:
        person = find_person(book_of(journal.entries()), student)
        grade = person.grades.get(exercise)
        if grade is None:
            listed = ", ".join(person.grades) or "none"
            raise LookupError(
                f"{person.student} has no exercise {exercise!r} in this gradebook; there are: "
                f"{listed}."
            )
        if points is not None and not 0 <= points <= grade.max_points:
            raise ValueError(
                f"Exercise {exercise} has 0 to {grade.max_points:g} points, and {points:g} is not "
                "among them."
            )
        at = datetime.now(UTC).isoformat(timespec="seconds")
        sha256 = grade.result["sha256"]
        told = {"by": by, "because": because.strip(), "sha256": sha256, "at": at}
        given = None if points is None else float(points)
        writer.add(override(person.student, exercise, given, **told))
    if points is None:
        return f"{person.student}, {exercise}: what the checks say counts again."
    return f"{person.student}, {exercise}: {points:g} of {grade.max_points:g} points by hand."


def find_person(book: Book, student: str) -> Person:
    """Find a student by name, or by the part of it before the number.

    Raises:
        LookupError: in a sentence that names those who are called alike.
    """
    if student in book.people:
        return book.people[student]
    begun = [name for name in book.people if name.partition(" [")[0].lower() == student.lower()]
    if len(begun) == 1:
        return book.people[begun[0]]
    alike = begun or _alike(student, list(book.people))
    names = " or ".join(map(repr, alike[:_MOST_NAMED]))
    hint = f"Do you mean {names}?" if alike else _who_is_there(book)
    raise LookupError(f"There is no student {student!r} in this gradebook. {hint}")


def _alike(typed: str, names: list[str]) -> list[str]:
    """Give the names that hold all words typed, or their beginnings; else those spelt alike."""
    wanted = _words(typed)
    held = [n for n in names if all(any(w.startswith(t) for w in _words(n)) for t in wanted)]
    return (held if wanted else []) or difflib.get_close_matches(typed, names, n=3, cutoff=0.5)


def _words(name: str) -> list[str]:
    """Split a name into words of small letters without their accents."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c)))


def _who_is_there(book: Book) -> str:
    names = list(book.people)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"There are: {', '.join(map(repr, names[:_MOST_NAMED])) or 'none yet'}{more}."


def page_of(person: Person) -> str:
    """Lay out all that is known of one student, for a terminal."""
    rows = [
        (
            exercise,
            "-" if grade.points is None else f"{grade.points:g}",
            f"{grade.max_points:g}",
            grade.status,
            grade.result["stage"],
            grade.by_hand["because"] if grade.by_hand else _shortened(grade.result["message"]),
        )
        for exercise, grade in person.grades.items()
    ]
    table = aligned(("exercise", "points", "of", "status", "stage", "said"), rows)
    total = "open" if person.total is None else f"{person.total:g}"
    best = sum(grade.max_points for grade in person.grades.values())
    files = [f"  {h['name']}" + (f": {h['why']}" if h["why"] else "") for h in person.hand_ins]
    looks = [f"  {told}" for told in person.notices]
    parts = [f"{person.student}: {total} of {best:g} points", table, "Handed in:", *files]
    return "\n".join([*parts, *(["Needs a look:", *looks] if looks else [])])


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _SAID else f"{line[: _SAID - 1].rstrip()}…"


def _write(file: Path, book: Book, entries: list[Entry]) -> None:
    with closing(sqlite3.connect(file)) as base, base:
        base.executescript(_SCHEMA)
        base.executemany(f"insert into hand_ins values ({_marks(6)})", _hand_ins(book))
        base.executemany(f"insert into grades values ({_marks(18)})", _grades(book))
        base.executemany(f"insert into measured values ({_marks(5)})", _measured(book))
        base.executemany(f"insert into history values ({_marks(12)})", _history(entries))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _hand_ins(book: Book) -> Iterator[tuple[object, ...]]:
    for person in book.people.values():
        for one in person.hand_ins:
            known = (one["name"], one["chapter"], one["why"], json.dumps(one["flags"]))
            yield person.student, *known, one["sha256"]


def _grades(book: Book) -> Iterator[tuple[object, ...]]:
    for person in book.people.values():
        for grade in person.grades.values():
            result, by_hand = grade.result, grade.by_hand or {"by": None, "because": None}
            yield (
                grade.student,
                grade.exercise,
                grade.status,
                grade.points,
                grade.max_points,
                result["points"],
                by_hand["by"],
                by_hand["because"],
                *(result[f] for f in ("stage", "message", "cause", "cure", "detail", "version")),
                *(result[f] for f in ("seed", "tier")),
                "\n".join(grade.attention),
                result["sha256"],
            )


def _measured(book: Book) -> Iterator[tuple[object, ...]]:
    for person in book.people.values():
        for grade in person.grades.values():
            taken = (grade.result[f] for f in ("seconds", "peak_mb", "at"))
            yield grade.student, grade.exercise, *taken


def _history(entries: list[Entry]) -> Iterator[tuple[object, ...]]:
    facts = ("at", "kind", "student", "exercise", "status", "points", "by", "because", "version")
    for number, entry in enumerate(entries):
        if entry["kind"] in ("graded", "override"):
            yield number, *(entry.get(f) for f in (*facts, "message", "sha256"))
