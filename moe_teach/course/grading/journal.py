"""The journal of a gradebook: one line of JSON for each thing that happened, only ever added to.

A line is on the disk before the next thing happens, so a grader that is killed loses what it was
at and nothing else. The gradebook is made of the journal and can be made again.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from moe_teach.course.grading.record import Answers, Graded, Submission
from moe_teach.files import sync_folder, write_atomically

Entry = dict[str, Any]
_MOST_WORDS = 4000  # characters of a message: an answer can make any error as long as it likes
_PATIENCE = 2.0  # seconds for another verb to be done; a whole grading is not waited for
FORMAT = {"kind": "journal", "format": "moe-teach-journal", "version": 1}


class JournalError(ValueError):
    """A journal cannot be used; the message says in a sentence why, and what to do."""


class Journal:
    """The journal in a gradebook's folder, and the files that were handed in beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "journal.jsonl"

    def entries(self) -> Iterator[Entry]:
        """Give what happened, the first thing first; a last line that was cut off is no entry.

        Raises:
            JournalError: if there is no journal, or if a line before the last is damaged.
        """
        if not self.file.is_file():
            raise JournalError(
                f"There is no gradebook in {self.folder}: `moe-teach grade` makes one. Name "
                "another folder with --gradebook."
            )
        lines = self.file.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            entry = _parsed(line)
            if entry is None:
                raise JournalError(
                    f"Line {number} of {self.file} is damaged. Take it out by hand, or bring back "
                    "a copy of the file: nothing was changed."
                )
            if entry.get("format") and entry.get("version") != FORMAT["version"]:
                raise JournalError(f"{self.file} was written by another version of the course.")
            yield entry

    @contextlib.contextmanager
    def opened(self) -> Iterator["Writer"]:
        """Hold the journal alone, mend its end, and give what adds to it.

        Raises:
            JournalError: if somebody else is adding to it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "journal.lock", timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            raise JournalError(
                f"Another grader is writing in {self.folder}. Wait until it is done, or end it."
            ) from None
        try:
            is_new = not self.file.exists()
            with self.file.open("ab") as stream:
                self._drop_torn_line()
                writer = Writer(stream)
                if is_new:
                    writer.add(FORMAT)
                    sync_folder(self.folder)
                yield writer
        finally:
            lock.release()

    def keep(self, submission: Submission) -> None:
        """Keep a copy of what was handed in, so that it can be graded again."""
        file = self._kept(submission.sha256)
        if not file.exists():
            write_atomically(file, submission.content)

    def kept(self, entry: Entry) -> Submission:
        """Give back a submission from its entry and the copy of its content.

        Raises:
            JournalError: if the copy is gone or is another one.
        """
        file = self._kept(entry["sha256"])
        content = file.read_bytes() if file.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise JournalError(
                f"The copy of {entry['name']} by {entry['student']} in {file.parent} is gone or "
                "was changed: grade what was handed in once more."
            )
        return Submission(
            student=entry["student"],
            name=entry["name"],
            content=content,
            sha256=entry["sha256"],
            flags=tuple(entry["flags"]),
        )

    def _kept(self, sha256: str) -> Path:
        return self.folder / "handed_in" / f"{sha256}.bin"

    def _drop_torn_line(self) -> None:
        """Cut off a last line that has no end: whatever it told is done again."""
        content = self.file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.file, whole)


class Writer:
    """Adds lines to a journal that is held."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def add(self, *entries: Entry) -> None:
        """Add lines and force them to the disk."""
        lines = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries)
        self._stream.write(lines.encode("ascii"))
        self._stream.flush()
        os.fsync(self._stream.fileno())


def handed_in(submission: Submission, batch: str) -> Entry:
    """Say that a submission belongs to a batch."""
    facts = ("student", "name", "sha256", "flags")
    return {"kind": "handed in", "batch": batch, **{f: getattr(submission, f) for f in facts}}


def found(answers: Answers, exercises: list[str], fault: str = "") -> Entry:
    """Say what was found in a submission; `exercises` are those that it must have a grade for.

    A `fault` is the grader's own: it is tried again.
    """
    facts = ("chapter", "problem", "missing", "untouched", "unclear", "flags")
    return {
        "kind": "found",
        "student": answers.submission.student,
        "sha256": answers.submission.sha256,
        "exercises": exercises,
        "fault": fault,
        **{f: getattr(answers, f) for f in facts},
    }


def override(
    student: str,
    exercise: str,
    points: float | None,
    *,
    by: str,
    because: str,
    sha256: str,
    at: str,
) -> Entry:
    """Say that somebody gave points by hand, or took such points back (None)."""
    facts = {"student": student, "exercise": exercise, "points": points, "by": by}
    return {"kind": "override", **facts, "because": because, "sha256": sha256, "at": at}


def graded(submission: Submission, result: Graded, fingerprint: str, at: str) -> Entry:
    """Say what became of one exercise, and by which form of its check."""
    where = {"student": submission.student, "sha256": submission.sha256}
    facts = {k: v[:_MOST_WORDS] if isinstance(v, str) else v for k, v in asdict(result).items()}
    return {"kind": "graded", **where, "check": fingerprint, "at": at, **facts}


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None
