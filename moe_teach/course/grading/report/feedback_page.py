"""A student's own page: what became of each exercise, in the words of the checks.

Nothing on it was not said by a check: what is for the teacher's eyes (details, flags, seeds) stays
in the gradebook.
"""

from html import escape

from moe_teach.course.grading.book import Grade, Person
from moe_teach.course.grading.naming import parts_of
from moe_teach.course.grading.report.page import colour_of, page, paragraph
from moe_teach.course.grading.report.statistics import group_of, title_of

_WORDS = {
    "passed": ("✓", "passed"),
    "partial": ("◐", "partly right"),
    "failed": ("✗", "not right yet"),
    "invalid_result": ("✗", "not right yet"),
    "not_attempted": ("○", "not attempted"),
    "missing": ("○", "not in the file"),
    "load_error": ("!", "the cell raised an error"),
    "timeout": ("!", "took too long"),
    "memory": ("!", "needed too much memory"),
    "crashed": ("!", "ended Python"),
    "ungraded": ("…", "not graded yet"),
    "by hand": ("✎", "graded by hand"),
}


def feedback_page(person: Person) -> str:
    """Write one student's page."""
    name = parts_of(person.student)[0]
    best = sum(grade.max_points for grade in person.grades.values())
    total = "not all graded yet" if person.total is None else f"{person.total:g} of {best:g} points"
    parts = [f"<h1><bdi>{escape(name)}</bdi></h1>", f'<p class="faint">{total}</p>']
    for hand_in in person.hand_ins:
        if hand_in["why"]:
            parts.append(
                _card("undecided", f"… {hand_in['name']}", "", "", paragraph(hand_in["why"]))
            )
    chapter = ""
    for exercise, grade in person.grades.items():
        if exercise.partition(".")[0] != chapter:
            chapter = exercise.partition(".")[0]
            parts.append(f"<h2>Chapter {int(chapter):02d}</h2>")
        parts.append(_exercise(exercise, grade))
    return page(f"Feedback for {name}", *parts)


def _exercise(exercise: str, grade: Grade) -> str:
    icon, word = _WORDS[grade.status]
    points = "–" if grade.points is None else f"{grade.points:g}"
    head = f"{icon} {exercise} {title_of(exercise)}"
    result = grade.result
    said = paragraph(grade.by_hand["because"], "By hand:") if grade.by_hand else ""
    if grade.status != "passed":
        said += paragraph(result["stage"], "Stage:")
        said += paragraph(result["message"])
        said += paragraph(result["cause"], "Likely cause:")
        said += paragraph(result["cure"], "To mend it:")
    return _card(group_of(grade), head, word, f"{points} of {grade.max_points:g}", said)


def _card(group: str, head: str, word: str, points: str, inner: str) -> str:
    style = f"border-left-color: {colour_of(group)}"
    title = f"<h3><bdi>{escape(head)}</bdi> <span>{word}</span></h3>"
    return (
        f'<section class="card" style="{style}"><header>{title}<span>{points}</span></header>'
        f"{inner}</section>"
    )
