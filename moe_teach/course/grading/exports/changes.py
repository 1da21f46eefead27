"""Since when each row that Moodle gets is what it is: the journal, read once more as a history.

Moodle keeps a grade of its own that is younger than the one it is sent. So the time that goes with
a row is that of its last change, by whatever it changed: a hand-in, a check that judges otherwise,
points by hand, or such points taken back. Judging again with the same result changes nothing, and
what somebody decided in Moodle meanwhile stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from moe_teach.course.grading.book import person_of
from moe_teach.course.grading.exports.tables import chapters_of, comment
from moe_teach.course.grading.journal import Entry
from moe_teach.course.grading.standing import Standing


def last_changes(entries: Iterable[Entry]) -> dict[tuple[str, int], str]:
    """Give the time of the last change, by student and chapter."""
    histories: dict[str, _History] = {}
    now = ""
    for entry in entries:
        at = str(entry.get("at", now))
        if at != now:
            for history in histories.values():
                history.settle(now)
        now = at
        if "student" in entry:
            student = entry["student"]
            histories.setdefault(student, _History(student)).take(entry)
        elif entry["kind"] == "batch":
            for history in histories.values():
                if entry["batch"] in history.standing.handed:  # else it changes nothing for them
                    history.take(entry)
    for history in histories.values():
        history.settle(now)
    return {(h.student, chapter): at for h in histories.values() for chapter, at in h.since.items()}


@dataclass
class _History:
    """One student's part of a journal, as far as it was read."""

    student: str
    standing: Standing = field(default_factory=Standing)
    comments: dict[str, str] = field(default_factory=dict)  # by exercise; they tell the points too
    since: dict[int, str] = field(default_factory=dict)
    is_settled: bool = True

    def take(self, entry: Entry) -> None:
        """Let one more thing have happened."""
        self.standing.take(entry)
        self.is_settled = False

    def settle(self, now: str) -> None:
        """See what has changed until now, and note the time beside it."""
        if self.is_settled:
            return
        self.is_settled = True
        grades = person_of(self.student, self.standing).grades
        comments = {exercise: comment(exercise, grade) for exercise, grade in grades.items()}
        changed = {exercise for exercise, _ in comments.items() ^ self.comments.items()}
        self.since |= dict.fromkeys(chapters_of(changed), now)
        self.comments = comments
