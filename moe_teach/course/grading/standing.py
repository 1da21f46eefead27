"""How things stand: reads a journal from its first line to its last and says what counts now."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from moe_teach.course.grading.journal import Entry

Key = tuple[str, str]  # student and content


@dataclass
class Standing:
    """What a journal says: who handed in what, what was found in it, and what became of it."""

    batch: str = ""
    handed: dict[str, dict[str, Entry]] = field(default_factory=dict)  # batch -> content+student
    found: dict[Key, Entry] = field(default_factory=dict)
    graded: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    overrides: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Let one more thing have happened."""
        kind = entry["kind"]
        if kind == "batch":
            self.batch = entry["batch"]
            self.handed[self.batch] = self.handed.pop(self.batch, {})  # now the latest
        elif kind == "handed in":
            mine = f"{entry['student']}\0{entry['name']}\0{entry['sha256']}"
            self.handed.setdefault(entry["batch"], {})[mine] = entry
        elif kind == "found":
            self.found[entry["student"], entry["sha256"]] = entry
        elif kind == "graded":
            self.graded[entry["student"], entry["sha256"], entry["exercise"]] = entry
        elif kind == "override":
            self.overrides[entry["student"], entry["exercise"]] = entry

    def current(self) -> list[Entry]:
        """Give the hand-ins that count: of each student and chapter, those of the latest batch.

        A file that says nothing of its chapter counts until its student hands in anything again.
        """
        latest: dict[tuple[str, int], list[Entry]] = {}
        for entries in self.handed.values():
            fresh: dict[tuple[str, int], list[Entry]] = {}
            for entry in entries.values():
                found = self.found.get((entry["student"], entry["sha256"]))
                chapter = found["chapter"] if found else -1
                fresh.setdefault((entry["student"], chapter), []).append(entry)
            for student in {student for student, _ in fresh}:
                latest.pop((student, -1), None)
            latest |= fresh
        return sorted((e for found in latest.values() for e in found), key=_by_name)

    def is_done(self, student: str, sha256: str, checks: dict[str, str]) -> bool:
        """Tell whether nothing is left to judge; `checks` maps exercises to today's fingerprints.

        What a fault of the grader left ungraded is not done.
        """
        found = self.found.get((student, sha256))
        if found is None or found["fault"]:
            return False
        if found["problem"]:
            return True
        for exercise in found["exercises"]:
            entry = self.graded.get((student, sha256, exercise))
            if entry is None or entry["check"] != checks.get(exercise):
                return False
            if entry["status"] == "ungraded" and exercise not in found["unclear"]:
                return False
        return True


def standing_of(entries: Iterable[Entry]) -> Standing:
    """Read a whole journal."""
    standing = Standing()
    for entry in entries:
        standing.take(entry)
    return standing


def _by_name(entry: Entry) -> tuple[str, str, str]:
    return entry["student"], entry["name"], entry["sha256"]
