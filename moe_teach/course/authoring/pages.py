"""The cells the builder adds to every notebook: badges, set-up, headers and the way onward."""

import re
from pathlib import Path
from urllib.parse import quote

from moe_teach.judging.exercise import Exercise

_SETUP = """\
# Set-up: on Colab this installs the course once; everywhere else it only imports it.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and {missing}:
    package = "moe-teach{extra} @ git+{url}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
    importlib.invalidate_caches()

from moe_teach.course import check, hint, progress, reset, setup, solution

setup()"""

# Chapters whose pages import what only an extra brings: which one, and a module that comes with it.
EXTRAS = {8: ("deploy", "gguf")}

_HOW = """\
Write your answers where a cell says `raise NotImplementedError`. Run the cell, then the check
below it: it answers at once, as often as you like. Stuck? `hint("{first}")` gives the first of
three hints, `solution("{first}")` the solution with its explanation, and `progress()` an overview.
Reading them is recorded for you and costs nothing. A function returns its answer and leaves its
inputs as they were. Floating-point results carry the gradients of their floating-point inputs,
unless the text says otherwise. No cell here depends on your earlier answers, so you may skip."""


def repository_url(root: Path) -> str:
    """Read the project's URL from the package metadata in pyproject.toml."""
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removesuffix("/")


def setup_code(url: str, chapter: int = 0) -> str:
    """Write the one set-up cell: it may run twice, and in any folder."""
    extra, probe = EXTRAS.get(chapter, ("", ""))
    missing = 'importlib.util.find_spec("moe_teach") is None'
    if probe:  # the course alone may be there already
        missing = f'not all(map(importlib.util.find_spec, ("moe_teach", "{probe}")))'
    return _SETUP.format(url=url, extra=extra and f"[{extra}]", missing=missing)


def badges(url: str, shelf: str, stem: str) -> str:
    """Write the buttons that open a notebook on Colab and on Binder."""
    slug = url.split("github.com/")[-1]
    file = f"{shelf}/{stem}.ipynb"
    colab = f"https://colab.research.google.com/github/{slug}/blob/main/{file}"
    binder = f"https://mybinder.org/v2/gh/{slug}/HEAD?labpath={quote(file, safe='')}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Launch Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def opening(first_cell: str, badge_line: str, extra: str = "") -> str:
    """Put the badges under the title, and `extra` at the end of the first cell."""
    title, _, rest = first_cell.partition("\n")
    parts = [title, badge_line, rest.strip("\n"), extra]
    return "\n\n".join(part for part in parts if part)


def how_to_work(first_id: str, stem: str, lesson_title: str) -> str:
    """Explain an exercise notebook in four lines."""
    lesson = f"The lesson they belong to: [{lesson_title}](../notebooks/{stem}.ipynb)."
    return f"{_HOW.format(first=first_id)}\n\n{lesson}"


def exercise_heading(text: str, exercise: Exercise) -> str:
    """Put the exercise's card (difficulty, importance, minutes, needs) under its heading."""
    facts = [
        f"Difficulty {_dots(exercise.difficulty)}",
        f"importance {_dots(exercise.importance)}",
        f"about {exercise.minutes} minutes",
        f"{exercise.points:g} point{'s' if exercise.points != 1 else ''}",
    ]
    if exercise.needs:
        facts.append(f"builds on {', '.join(exercise.needs)}")
    line = f"*{' · '.join(facts)}*"
    return re.sub(
        r"^(## Exercise [^\n]*)$",
        lambda match: f"{match.group(1)}\n\n{line}",
        text,
        count=1,
        flags=re.M,
    )


def navigation(stem: str, titles: dict[str, str], *, exercises: str | None = None) -> str:
    """Write the last cell: to the exercises or back to the lesson, and to both neighbours.

    A lesson names its chapter's `exercises`, or "" if it has none; an exercise notebook does not.
    """
    stems = sorted(titles)
    at = stems.index(stem)
    links = []
    if at > 0:
        links.append(f"← [{titles[stems[at - 1]]}](../notebooks/{stems[at - 1]}.ipynb)")
    if exercises:
        links.append(
            f"**[Exercises of this chapter](../exercises/{exercises}.ipynb)** "
            f"([solutions](../solutions/{exercises}.ipynb))"
        )
    elif exercises is None:
        links.append(f"**[The lesson](../notebooks/{stem}.ipynb)**")
    if at + 1 < len(stems):
        links.append(f"[{titles[stems[at + 1]]}](../notebooks/{stems[at + 1]}.ipynb) →")
    return "---\n\n" + " · ".join(links)


def _dots(level: int) -> str:
    return "●" * level + "○" * (5 - level)
