"""Grades as JSON: everything, or one file for each student in the forms of Gradescope and Exercism.

Texts for learners are the words of the checks, with none of what is for the teacher's eyes.
"""

from typing import Any

from moe_teach.course.grading.book import Book, Grade, Person

FORMAT = "moe-teach-gradebook"
VERSION = 1


def everything(book: Book) -> dict[str, Any]:
    """Give the whole gradebook; the keys of version 1 keep their meaning."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "exercises": [{"id": e, "max_points": book.max_points(e)} for e in book.exercises],
        "students": [_student(person) for person in book.people.values()],
    }


def gradescope(person: Person) -> dict[str, Any]:
    """Give one student as an autograder's `results.json`; what is undecided has no score."""
    tests = [
        {
            "number": exercise,
            "name": f"Exercise {exercise}",
            "max_score": grade.max_points,
            "output": words(grade),
            "visibility": "visible",
            **({} if grade.points is None else {"score": grade.points, "status": _verdict(grade)}),
        }
        for exercise, grade in person.grades.items()
    ]
    results: dict[str, Any] = {"output": "\n".join(person.ungraded), "tests": tests}
    if person.total is not None:
        results["score"] = person.total
    return results


def exercism(person: Person) -> dict[str, Any]:
    """Give one student as a test runner's `results.json` of version 2: pass, fail or error."""
    tests = [
        {
            "name": f"Exercise {exercise}",
            "status": _state(grade),
            **({} if _state(grade) == "pass" else {"message": words(grade)}),
        }
        for exercise, grade in person.grades.items()
    ]
    states = {test["status"] for test in tests}
    status = "error" if person.ungraded else "pass" if states <= {"pass"} else "fail"
    results: dict[str, Any] = {"version": 2, "status": status, "tests": tests}
    if person.ungraded:
        results["message"] = "\n".join(person.ungraded)
    return results


def words(grade: Grade) -> str:
    """Give what a learner is told of an exercise."""
    result = grade.result
    if grade.by_hand:
        return f"Points given by hand: {grade.by_hand['because']}"
    said = [("", result["message"]), ("Likely cause: ", result["cause"])]
    said.append(("To mend it: ", result["cure"]))
    return "\n".join(label + text for label, text in said if text)


def _student(person: Person) -> dict[str, Any]:
    files = [
        {f: hand_in[f] for f in ("name", "sha256", "chapter", "why", "flags")}
        for hand_in in person.hand_ins
    ]
    return {
        "student": person.student,
        "total": person.total,
        "ungraded": person.ungraded,
        "handed_in": files,
        "grades": [_grade(grade) for grade in person.grades.values()],
    }


def _grade(grade: Grade) -> dict[str, Any]:
    facts = ("version", "stage", "message", "cause", "cure", "detail", "seed", "tier")
    by_hand = grade.by_hand and {f: grade.by_hand[f] for f in ("points", "by", "because", "at")}
    return {
        "exercise": grade.exercise,
        "status": grade.status,
        "points": grade.points,
        "max_points": grade.max_points,
        "automatic": {"status": grade.result["status"], "points": grade.result["points"]},
        "by_hand": by_hand,
        "attention": list(grade.attention),
        **{f: grade.result[f] for f in facts},
    }


def _verdict(grade: Grade) -> str:
    return "passed" if grade.points == grade.max_points else "failed"


def _state(grade: Grade) -> str:
    if grade.points is None:
        return "error"
    return "pass" if grade.points == grade.max_points else "fail"
