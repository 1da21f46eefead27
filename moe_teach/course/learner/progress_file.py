"""What the learner has done so far, in one small file that nothing short of deleting it can lose.

Records are keyed by the exercise's stable id and remember the version that was passed, so they
survive renamed files and course updates. Every save writes a new file and renames it over the old
one; a file that cannot be read is set aside, never overwritten.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from moe_teach.files import home, write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One exercise or question: tries, hints opened, and which version was passed and when."""

    attempts: int = 0
    state: str = "not attempted"
    passed_version: int = 0
    passed_on: str = ""
    points: float | int = 0
    hints: tuple[int, ...] = ()
    solution_opened: bool = False


@dataclass
class Progress:
    """All records by id."""

    records: dict[str, Record] = field(default_factory=dict)

    def of(self, item_id: str) -> Record:
        """Give the record of one id, a blank one where there is none."""
        return self.records.get(item_id, Record())

    def merged(self, other: "Progress") -> "Progress":
        """Combine two progress files, e.g. of two machines; nothing done on either is lost."""
        ids = self.records.keys() | other.records.keys()
        return Progress({i: _merge(self.of(i), other.of(i)) for i in sorted(ids)})


def path() -> Path:
    """The progress file."""
    return home() / "progress.json"


def read() -> Progress:
    """Read the progress file; a damaged one is renamed and an empty record returned."""
    try:
        text = path().read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Progress()
    try:
        return from_json(text)
    except (ValueError, TypeError, AttributeError):
        _set_aside(path())
        return Progress()


def save(progress: Progress) -> None:
    """Write the file so that a kill at any moment leaves the old or the new one, whole."""
    write_atomically(path(), to_json(progress).encode())


def update(item_id: str, change: Callable[[Record], Record]) -> None:
    """Replace one record by what `change` makes of it, under a lock."""
    with _locked():
        progress = read()
        progress.records[item_id] = change(progress.of(item_id))
        save(progress)


def count_attempt(item_id: str, state: str, version: int, points: float | int) -> None:
    """Record one judged attempt; a pass, once earned, is kept whatever comes later."""

    def change(before: Record) -> Record:
        tried = replace(before, attempts=before.attempts + 1)
        if state == "passed":
            today = before.passed_on or datetime.now(UTC).date().isoformat()
            return replace(
                tried, state=state, passed_version=version, points=points, passed_on=today
            )
        return tried if before.state == "passed" else replace(tried, state=state)

    update(item_id, change)


def open_hint(item_id: str, level: int) -> None:
    """Record that a hint was read."""
    update(item_id, lambda r: replace(r, hints=tuple(sorted({*r.hints, level}))))


def open_solution(item_id: str) -> None:
    """Record that the solution was read."""
    update(item_id, lambda r: replace(r, solution_opened=True))


def forget(item_id: str) -> None:
    """Remove one record."""
    with _locked():
        progress = read()
        if progress.records.pop(item_id, None) is not None:
            save(progress)


def to_json(progress: Progress) -> str:
    """The file's text: sorted and indented, so that people can read and compare it."""
    records = {i: asdict(record) for i, record in sorted(progress.records.items())}
    return json.dumps({"schema": SCHEMA, "exercises": records}, indent=1) + "\n"


def from_json(text: str) -> Progress:
    """Read a file's text; fields of later course versions are ignored, missing ones blank."""
    known = {entry.name for entry in fields(Record)}
    records = {}
    for item_id, stored in json.loads(text)["exercises"].items():
        kept = {name: value for name, value in stored.items() if name in known}
        kept["hints"] = tuple(int(level) for level in kept.get("hints", ()))
        kept["attempts"] = int(kept.get("attempts", 0))
        kept["points"] = float(kept.get("points", 0.0))
        kept["passed_version"] = _version(kept.get("passed_version", 0))
        records[item_id] = Record(**kept)
    return Progress(records)


def _version(stored: int | str) -> int:
    """Read a version; courses up to 0.3.1 stored a hash of the check, of what is now version 1."""
    return stored if isinstance(stored, int) else int(bool(stored))


def _merge(one: Record, other: Record) -> Record:
    first, second = sorted((one, other), key=lambda r: (r.state == "passed", r.attempts))
    return replace(
        second,
        attempts=max(first.attempts, second.attempts),
        points=max(first.points, second.points),
        hints=tuple(sorted({*first.hints, *second.hints})),
        solution_opened=first.solution_opened or second.solution_opened,
        passed_on=min(filter(None, (first.passed_on, second.passed_on)), default=""),
    )


def _set_aside(damaged: Path) -> None:
    number = 1
    while (kept := damaged.with_name(f"progress-damaged-{number}.json")).exists():
        number += 1
    damaged.replace(kept)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let two kernels take turns; where files cannot be locked, the last one to write wins."""
    home().mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (home() / "progress.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
