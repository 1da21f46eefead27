"""The gradebook as it stands: everybody's points, where they come from, and who needs a look."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from moe_teach.course.grading.journal import Entry
from moe_teach.course.grading.standing import Standing, standing_of

# A flag of half a class: how the engine went about it. It stays in the journal, and is no alarm.
_HOW_JUDGED = "given earlier parts"


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One exercise of one student; `result` is the journal's line about it."""

    student: str
    exercise: str
    result: Entry
    by_hand: Entry | None = None
    attention: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """What became of it; "by hand" where somebody decided."""
        return "by hand" if self.by_hand else str(self.result["status"])

    @property
    def points(self) -> float | None:
        """The points that count; None means that nobody has decided yet."""
        return self.by_hand["points"] if self.by_hand else self.result["points"]

    @property
    def max_points(self) -> float:
        """What can be had."""
        return float(self.result["max_points"])


@dataclass
class Person:
    """One student: what was handed in, and the grades by exercise."""

    student: str
    hand_ins: list[Entry] = field(default_factory=list)
    grades: dict[str, Grade] = field(default_factory=dict)
    attention: list[str] = field(default_factory=list)

    @property
    def ungraded(self) -> list[str]:
        """Say in sentences what nobody has decided yet, a file that cannot be read once."""
        left = [grade for grade in self.grades.values() if grade.points is None]
        blamed = {grade.result["sha256"] for grade in left}
        files = [h for h in self.hand_ins if h["why"] and (h["is_open"] or h["sha256"] in blamed)]
        whys = {hand_in["why"] for hand_in in files}
        told = [f"{hand_in['name']}: {hand_in['why']}" for hand_in in files]
        single = [grade for grade in left if grade.result["message"] not in whys]
        return told + [f"{grade.exercise}: {grade.result['message']}" for grade in single]

    @property
    def total(self) -> float | None:
        """The sum of all points; None while anything is undecided."""
        if self.ungraded:
            return None
        return sum((grade.points or 0.0 for grade in self.grades.values()), 0.0)

    @property
    def notices(self) -> list[str]:
        """Say all that deserves a look, of the whole and of each exercise."""
        own = [f"{g.exercise}: {told}" for g in self.grades.values() for told in g.attention]
        return [*self.ungraded, *self.attention, *own]


@dataclass
class Book:
    """All students by name, and the exercises that anybody was graded for, in their order.

    `entries` is the journal that says so.
    """

    people: dict[str, Person]
    exercises: list[str]
    entries: list[Entry]

    def max_points(self, exercise: str) -> float:
        """What an exercise is worth today."""
        found = (p.grades[exercise] for p in self.people.values() if exercise in p.grades)
        return max(grade.max_points for grade in found)


def in_order(exercises: Iterable[str]) -> list[str]:
    """Sort ids as the course has them: 3.2 before 3.10."""
    return sorted(set(exercises), key=lambda i: tuple(int(n) for n in i.split(".")))


def book_of(entries: Iterable[Entry]) -> Book:
    """Make the gradebook of a journal."""
    entries = list(entries)
    standing = standing_of(entries)
    people: dict[str, Person] = {}
    for entry in standing.current():
        people.setdefault(entry["student"], Person(entry["student"]))
        people[entry["student"]].hand_ins.append(_hand_in(entry, standing))
    for person in people.values():
        _fill(person, standing)
    _note_twins(people)
    exercises = in_order(e for person in people.values() for e in person.grades)
    return Book(dict(sorted(people.items())), exercises, entries)


def person_of(student: str, standing: Standing) -> Person:
    """Make one student's page of a standing that knows of nobody else."""
    hand_ins = [_hand_in(entry, standing) for entry in standing.current()]
    person = Person(student, hand_ins)
    _fill(person, standing)
    return person


def _hand_in(entry: Entry, standing: Standing) -> Entry:
    """Join what is known of one file; it is open where its chapter is not even known."""
    nothing = {
        "chapter": -1,
        "problem": "",
        "fault": "It has not been graded yet.",
        "exercises": [],
    }
    found = standing.found.get((entry["student"], entry["sha256"]), nothing)
    why = found["problem"] or found["fault"]
    about = {f: found.get(f, default) for f, default in (("exercises", []), ("chapter", -1))}
    is_open = bool(why) and not about["exercises"]
    told = found.get("flags", {}).get("", ())
    flags = list(dict.fromkeys((*entry["flags"], *told)))
    return {**entry, **about, "why": why, "is_open": is_open, "flags": flags}


def _fill(person: Person, standing: Standing) -> None:
    lines: dict[str, list[Entry]] = {}
    for hand_in in person.hand_ins:
        person.attention += [f"{hand_in['name']}: {flag}" for flag in hand_in["flags"]]
        for exercise in hand_in["exercises"]:
            key = person.student, hand_in["sha256"], exercise
            if key in standing.graded:
                lines.setdefault(exercise, []).append(standing.graded[key])
    chapters = Counter(h["chapter"] for h in person.hand_ins if h["exercises"])
    for chapter, count in chapters.items():
        if count > 1:
            said = f"{count} files of chapter {chapter:02d}: of each exercise the best one counts."
            person.attention.append(said)
    for exercise in in_order(lines):
        person.grades[exercise] = _grade(person.student, exercise, lines[exercise], standing)


def _grade(student: str, exercise: str, lines: list[Entry], standing: Standing) -> Grade:
    result = max(lines, key=_worth)
    undecided = [line for line in lines if line["points"] is None]
    if undecided and not result["points"]:
        result = min(undecided, key=lambda line: line["sha256"])  # a zero may be the other's
    by_hand = standing.overrides.get((student, exercise))
    by_hand = by_hand if by_hand and by_hand["points"] is not None else None
    attention = [flag for flag in result["flags"] if not flag.startswith(_HOW_JUDGED)]
    if by_hand and by_hand["sha256"] and by_hand["sha256"] != result["sha256"]:
        attention.append("The points by hand were given for an earlier hand-in.")
    return Grade(
        student=student,
        exercise=exercise,
        result=result,
        by_hand=by_hand,
        attention=tuple(attention),
    )


def _worth(line: Entry) -> tuple[float, str]:
    return (-1.0 if line["points"] is None else line["points"], line["sha256"])


def _note_twins(people: dict[str, Person]) -> None:
    """Say who handed in the very same file, where anything was done in it."""
    owners: dict[str, set[str]] = {}
    for person in people.values():
        worked = any(g.status not in ("not_attempted", "ungraded") for g in person.grades.values())
        for hand_in in person.hand_ins if worked else ():
            owners.setdefault(hand_in["sha256"], set()).add(person.student)
    for person in people.values():
        for hand_in in person.hand_ins:
            others = sorted(owners.get(hand_in["sha256"], set()) - {person.student})
            if others:
                person.attention.append(f"The same file was handed in by {', '.join(others)}.")
