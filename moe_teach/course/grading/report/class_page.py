"""The page about a class: how each exercise went, what was misunderstood, who needs a look."""

from html import escape
from statistics import median

from moe_teach.course.grading.book import Book
from moe_teach.course.grading.report import figures
from moe_teach.course.grading.report.page import page, text
from moe_teach.course.grading.report.statistics import ItemFacts, item_facts, shares
from moe_teach.plots.page import table

_MOST_CAUSES = 3


def class_page(book: Book, title: str) -> str:
    """Write the report as one page that needs nothing but itself."""
    items = item_facts(book)
    chapters = sorted({item.exercise.partition(".")[0] for item in items}, key=int)
    listed = ", ".join(f"{int(chapter):02d}" for chapter in chapters) or "none"
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="faint">Chapters: {listed}</p>', _tiles(book)]
    if items:
        parts += [
            "<h2>What became of each exercise</h2>",
            figures.key(),
            figures.success_bars(items),
            "<h2>What was most likely misunderstood</h2>",
            _causes(items),
        ]
    if decided := shares(book):
        parts += ["<h2>Points</h2>", figures.histogram(decided)]
    parts += ["<h2>Who needs a look</h2>", _looks(book)]
    return page(title, *parts)


def _tiles(book: Book) -> str:
    decided = shares(book)
    undecided = sum(bool(person.ungraded) for person in book.people.values())
    facts = {
        "students": str(len(book.people)),
        "exercises": str(len(book.exercises)),
        "median of the points": f"{100 * median(decided):.0f} %" if decided else "open",
        "students not fully graded": str(undecided),
    }
    inner = "".join(f"<div><dt>{name}</dt><dd>{fact}</dd></div>" for name, fact in facts.items())
    return f'<dl class="tiles">{inner}</dl>'


def _causes(items: list[ItemFacts]) -> str:
    """List, for each exercise, where most failed, and the causes that the checks named most."""
    rows = []
    for item in items:
        n_failed = sum(item.groups[group] for group in ("wrong", "partly", "broke off"))
        if not n_failed:
            continue
        stage, count = item.stages[0] if item.stages else ("", 0)
        where = (
            f"{text(stage)}<br><span class='faint'>{count} of {n_failed}</span>" if stage else ""
        )
        told = [f"<li>{text(cause)} ({n})</li>" for _, cause, n in item.causes[:_MOST_CAUSES]]
        rows.append((f"{item.exercise} {text(item.title)}", where, f"<ul>{''.join(told)}</ul>"))
    if not rows:
        return "<p>Nobody failed an exercise.</p>"
    header = ("exercise", "most common failing stage", "likely causes (how many students)")
    return table(header, rows)


def _looks(book: Book) -> str:
    rows = []
    for person in book.people.values():
        if person.notices:
            told = "".join(f"<li>{text(notice)}</li>" for notice in person.notices)
            total = "open" if person.total is None else f"{person.total:g}"
            rows.append((f"<bdi>{escape(person.student)}</bdi>", total, f"<ul>{told}</ul>"))
    if not rows:
        return "<p>Nobody: everything was graded, and nothing was out of the ordinary.</p>"
    return table(("student", "points", "why"), rows, numbers=[1])
