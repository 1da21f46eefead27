"""What a gradebook says of a class: how each exercise went, where it failed, and likely why."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from moe_teach.course import registry
from moe_teach.course.grading.book import Book, Grade

GROUPS = {
    "passed": ("passed",),
    "partly": ("partial", "by hand"),
    "wrong": ("failed", "invalid_result"),
    "broke off": ("load_error", "timeout", "memory", "crashed"),
    "not tried": ("not_attempted", "missing"),
    "undecided": ("ungraded",),
}
"""How statuses are drawn together, in the order of drawing."""
_ENDS = {
    "load_error": "The cell cannot be run.",
    "timeout": "It did not come back in time.",
    "memory": "It took too much memory.",
    "crashed": "It ended its own process.",
}
"""What to count where the words tell of one answer alone."""
_GROUP_OF = {status: group for group, statuses in GROUPS.items() for status in statuses}


@dataclass(frozen=True)
class ItemFacts:
    """One exercise in a class."""

    exercise: str
    title: str
    groups: dict[str, int]
    stages: list[tuple[str, int]]
    causes: list[tuple[str, str, int]]  # stage, cause, count

    @property
    def n_students(self) -> int:
        """How many handed in its chapter."""
        return sum(self.groups.values())

    @property
    def success(self) -> float | None:
        """The share that passed, of those that are decided."""
        decided = self.n_students - self.groups["undecided"]
        return self.groups["passed"] / decided if decided else None


def group_of(grade: Grade) -> str:
    """Say how a grade is drawn; one by hand goes by its points."""
    if grade.by_hand and grade.points == grade.max_points:
        return "passed"
    if grade.by_hand and not grade.points:
        return "wrong"
    return _GROUP_OF[grade.status]


def item_facts(book: Book) -> list[ItemFacts]:
    """Give every exercise's facts, in the order of the course."""
    return [_facts(exercise, book) for exercise in book.exercises]


def shares(book: Book) -> list[float]:
    """Give each student's share of the points that can be had, of those that are all decided."""
    found = []
    for person in book.people.values():
        best = sum(grade.max_points for grade in person.grades.values())
        if person.total is not None and best:
            found.append(person.total / best)
    return sorted(found)


def _facts(exercise: str, book: Book) -> ItemFacts:
    grades = [p.grades[exercise] for p in book.people.values() if exercise in p.grades]
    groups = Counter(group_of(grade) for grade in grades)
    failed = [g.result for g in grades if group_of(g) in ("wrong", "partly", "broke off")]
    stages = Counter(line["stage"] for line in failed if line["stage"])
    causes = Counter((line["stage"], _why(line)) for line in failed)
    return ItemFacts(
        exercise=exercise,
        title=title_of(exercise),
        groups={group: groups[group] for group in GROUPS},
        stages=_most_common(stages),
        causes=[(stage, cause, count) for (stage, cause), count in _most_common(causes)],
    )


def _why(line: dict[str, Any]) -> str:
    """Give the likely cause, or what was seen where a check names none."""
    return line["cause"] or _ENDS.get(line["status"]) or line["message"]


def _most_common(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Sort by count, and those of one count by name, so that a page is the same every time."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def title_of(exercise: str) -> str:
    """Give the title of an exercise; none if the course has it no more."""
    try:
        return registry.find_exercise(exercise).title
    except LookupError:
        return ""
