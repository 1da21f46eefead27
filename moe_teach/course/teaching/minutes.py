"""Adds up how long things take: lessons by their length, exercises by their cards, talks by slides.

A plan in Markdown names things: `03` is a lesson, `06b` its second page, `talk 03` a talk, `3.1` an
exercise. A column called `X, min` holds the minutes of the column `X`: filled in here, never typed.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.teaching.slides import slides_of
from moe_teach.text_table import in_markdown

# Reading with thought, not skimming; to be replaced by what a class of yours has needed.
WORDS_A_MINUTE, LINES_A_MINUTE, MINUTES_A_QUESTION, MINUTES_A_SLIDE = 130, 15, 2, 2
# "10 minutes of rest" is no lesson.
_NAMED = re.compile(r"\b(talk \d\d|\d\d?\.\d+|\d\d[b-z]?)\b(?!\.\d| ?min)")
_ASKED = re.compile(r'^check\("\d+\.q\d+"', re.M)
UNIT = ", min"
HEADER = ("chapter", "lesson" + UNIT, "talk" + UNIT, "exercises" + UNIT, "together, hours")


def table(root: Path) -> str:
    """Write the minutes of every chapter as a table."""
    rows, totals = [], [0, 0, 0]
    for chapter, slug in registry.chapters().items():
        pages = [page.stem.split("_")[0] for page in _pages(root, chapter)]
        exercises = [exercise.id for exercise in registry.room(chapter).EXERCISES]
        parts = [of(root, pages), of(root, [f"talk {chapter:02d}"]), of(root, exercises)]
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
        rows.append(_row(slug.replace("_", " "), parts))
    return in_markdown(HEADER, [*rows, _row("**all**", totals)], right=HEADER[1:])


def _row(name: str, parts: list[int]) -> tuple[str, ...]:
    lesson, _, exercises = parts  # a talk takes the place of reading
    return name, *map(str, parts), f"{(lesson + exercises) / 60:.1f}"


def of(root: Path, names: Iterable[str]) -> int:
    """Add up the minutes of lessons, talks and exercises.

    Raises `LookupError` in a sentence for a name that is none of them.
    """
    return sum(_one(root, name) for name in names)


@cache
def _one(root: Path, name: str) -> int:
    if "." in name:
        return registry.find_exercise(name).minutes
    number = name.removeprefix("talk ")
    pages = [page for page in _pages(root, int(number[:2])) if page.stem.split("_")[0] == number]
    if not pages:
        raise LookupError(f"There is no lesson {number} in {root / 'notebooks'}.")
    if name.startswith("talk"):
        every = _pages(root, int(number))
        return MINUTES_A_SLIDE * sum(len(slides_of(page)) for page in every)
    return _reading(pages[0])


def _pages(root: Path, chapter: int) -> list[Path]:
    return sorted((root / "notebooks").glob(f"{chapter:02d}*.ipynb"))


def _reading(page: Path) -> int:
    """Estimate a lesson from its words, its lines of code and its questions, to five minutes."""
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    texts = {kind: ["".join(c["source"]) for c in cells if c["cell_type"] == kind] for kind in
             ("markdown", "code")}  # fmt: skip
    words = sum(len(text.split()) for text in texts["markdown"])
    lines = sum(len(text.splitlines()) for text in texts["code"])
    questions = sum(len(_ASKED.findall(text)) for text in texts["code"])
    minutes = words / WORDS_A_MINUTE + lines / LINES_A_MINUTE + MINUTES_A_QUESTION * questions
    return 5 * round(minutes / 5)


def filled(root: Path, text: str) -> str:
    """Fill in the minutes of every table of a page, and the table of chapters between its marks."""
    marks = re.compile(r"(<!-- minutes -->\n).*?(<!-- end -->)", re.S)
    text = marks.sub(lambda found: f"{found[1]}{table(root)}\n{found[2]}", text)
    lines, header = [], []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not set(line) <= set("|-: "):
            line = _filled_row(root, header, cells) or line
        lines.append(line)
    return "\n".join(lines) + "\n"


def _filled_row(root: Path, header: list[str], cells: list[str]) -> str | None:
    """Fill in one row; None where no column holds minutes of another one."""
    counted = {name: name.removesuffix(UNIT) for name in header if name.endswith(UNIT)}
    if not counted or not set(counted.values()) <= set(header):
        return None
    if len(cells) != len(header):
        raise LookupError(
            f"A row of the plan has {len(cells)} cells and its header {len(header)}: "
            f"{' | '.join(cells)!r}. Give it as many, and leave those for minutes empty."
        )
    row = dict(zip(header, cells, strict=True))
    for name, source in counted.items():
        row[name] = str(of(root, _NAMED.findall(row[source])))
    return f"| {' | '.join(row.values())} |"
