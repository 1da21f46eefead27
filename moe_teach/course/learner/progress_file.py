"""What the learner has done so far, in one small file that nothing short of deleting it can lose.

Records are keyed by the exercise's stable id and remember the version that was passed, so they
survive renamed files and course updates. Every save writes a new file and renames it over the old
one; a damaged file is set aside and one of a newer course left alone, never overwritten. Whatever
else keeps the file from being read or written (no home, no permission) is an `OSError`.
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moe_teach.files import home, taking_turns, write_atomically

SCHEMA = 1


class NewerCourse(OSError):
    """The file was written by a newer course, in a form that this one does not know."""


class _Damaged(Exception):
    """The file holds something else than a record of progress."""


@dataclass(frozen=True)
class Record:
    """One exercise or question: tries, hints opened, and which version was passed and when.

    `failures` counts the tries that went wrong in a row, up to the latest. `best` is the best
    figure reached in an open task, in the form that `best_version` names.
    """

    attempts: int = 0
    failures: int = 0
    state: str = "not attempted"
    passed_version: int = 0
    passed_on: str = ""
    points: float | int = 0
    hints: tuple[int, ...] = ()
    solution_opened: bool = False
    best: float | int | None = None
    best_version: int = 0


@dataclass
class Progress:
    """All records by id."""

    records: dict[str, Record] = field(default_factory=dict)

    def of(self, item_id: str) -> Record:
        """Give the record of one id, a blank one where there is none."""
        return self.records.get(item_id, Record())


def path() -> Path:
    """The progress file."""
    return home() / "progress.json"


def read() -> Progress:
    """Read the progress file; a damaged one is renamed and an empty record returned."""
    try:
        return _read()
    except _Damaged:
        with taking_turns("progress"):
            return _mended()


def save(progress: Progress) -> None:
    """Write the file so that a kill at any moment leaves the old or the new one, whole."""
    # Through a link, which may lead to a folder that is kept elsewhere.
    write_atomically(Path(os.path.realpath(path())), to_json(progress).encode())


def update(item_id: str, change: Callable[[Record], Record]) -> Record:
    """Replace one record by what `change` makes of it, under a lock, and give the new one."""
    with taking_turns("progress"):
        progress = _mended()
        progress.records[item_id] = record = change(progress.of(item_id))
        save(progress)
    return record


def count_attempt(item_id: str, state: str, version: int, points: float | int) -> Record:
    """Record one judged attempt; a pass, once earned, is kept whatever comes later."""

    def change(before: Record) -> Record:
        failures = 0 if state == "passed" else before.failures + 1
        tried = replace(before, attempts=before.attempts + 1, failures=failures)
        if state == "passed":
            today = before.passed_on or datetime.now(UTC).date().isoformat()
            return replace(
                tried, state=state, passed_version=version, points=points, passed_on=today
            )
        return tried if before.state == "passed" else replace(tried, state=state)

    return update(item_id, change)


def keep_best(
    item_id: str, figure: float | int, version: int, is_better: Callable[[float, float], bool]
) -> Record:
    """Keep the figure of a try at an open task if none so far is better."""

    def change(before: Record) -> Record:
        known = before.best if before.best_version == version else None
        if known is not None and not is_better(figure, known):
            return before
        return replace(before, best=figure, best_version=version)

    return update(item_id, change)


def open_hint(item_id: str, level: int) -> None:
    """Record that a hint was read."""
    update(item_id, lambda r: replace(r, hints=tuple(sorted({*r.hints, level}))))


def open_solution(item_id: str) -> None:
    """Record that the solution was read."""
    update(item_id, lambda r: replace(r, solution_opened=True))


def forget(item_id: str) -> None:
    """Remove one record."""
    with taking_turns("progress"):
        progress = _mended()
        if progress.records.pop(item_id, None) is not None:
            save(progress)


def to_json(progress: Progress) -> str:
    """The file's text: sorted and indented, so that people can read and compare it."""
    records = {i: asdict(record) for i, record in sorted(progress.records.items())}
    return json.dumps({"schema": SCHEMA, "exercises": records}, indent=1) + "\n"


def from_json(text: str | bytes) -> Progress:
    """Read a file's text; unknown fields are ignored, missing ones blank.

    Raises `NewerCourse` in a sentence for a schema that only a newer course knows, and
    `ValueError`, `TypeError`, `LookupError` or `AttributeError` for what is no such text.
    """
    stored = json.loads(text)
    if stored.get("schema", SCHEMA) > SCHEMA:
        raise NewerCourse(
            "progress.json was written by a newer version of the course, and this one leaves it "
            "as it is. Update moe-teach, or set MOE_TEACH_HOME to another folder"
        )
    return Progress({item_id: _record(entry) for item_id, entry in stored["exercises"].items()})


def _record(stored: dict[str, Any]) -> Record:
    known = {entry.name for entry in fields(Record)}
    kept = {name: value for name, value in stored.items() if name in known}
    kept["state"] = str(kept.get("state", Record.state))
    kept["hints"] = tuple(int(level) for level in kept.get("hints", ()))
    kept["attempts"] = int(kept.get("attempts", 0))
    kept["failures"] = int(kept.get("failures", 0))
    kept["points"] = float(kept.get("points", 0.0))
    kept["best"] = None if kept.get("best") is None else float(kept["best"])
    kept["best_version"] = int(kept.get("best_version", 0))
    kept["passed_version"] = _version(kept.get("passed_version", 0))
    return Record(**kept)


def _version(stored: int | str) -> int:
    """Read a version; courses up to 0.3.1 stored a hash of the check, of what is now version 1."""
    return stored if isinstance(stored, int) else int(bool(stored))


def _read() -> Progress:
    file = path()  # outside: no home is not the same as no file
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Progress()
    try:
        return from_json(content)  # as bytes: JSON says itself whether an editor made it UTF-16
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as problem:
        raise _Damaged from problem


def _mended() -> Progress:
    """Read the file and set it aside if it is damaged; another kernel must not do so meanwhile."""
    try:
        return _read()
    except _Damaged:
        number = 1
        while (kept := path().with_name(f"progress-damaged-{number}.json")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # without locks another one may be sooner
            path().replace(kept)
        return Progress()
