"""Makes a class's notebooks of the course's: their buttons and links lead where students may go."""

import json
import re
from pathlib import Path
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.authoring import pages
from moe_teach.judging.exercise import Exercise

_LINK = re.compile(
    r"(\*\*)?\[([^\]]*)\]\(\.\./(notebooks|exercises|solutions)/([\w]+\.ipynb)\)(\*\*)?"
)
_SOLUTIONS = re.compile(r" ?\(\[solutions\]\(\.\./solutions/\w+\.ipynb\)\)")


class NotFit(LookupError):
    """A notebook cannot be handed out; the message says why and what to do."""


def for_students(file: Path, given: set[str], url: str, repository: str) -> bytes:
    """Give a notebook with buttons of the class's own repository and without ways to solutions.

    `given` lists what is handed out, as "exercises/03_router.ipynb"; links to anything else lead
    to the course at `url`.

    Raises:
        NotFit: if the notebook holds an answer.
    """
    notebook = json.loads(file.read_text(encoding="utf-8"))
    shelf, stem = file.parent.name, file.stem
    if shelf == "exercises":
        _demand_starters(file, notebook)
    return _led_elsewhere(notebook, stem, (shelf, shelf), given, url, repository)


def for_nbgrader(file: Path, url: str, repository: str) -> bytes:
    """Give a solution notebook as a source for nbgrader, which takes the solutions out of it.

    Its buttons open the exercises, because what is released from it keeps them.
    """
    notebook = json.loads(file.read_text(encoding="utf-8"))
    return _led_elsewhere(notebook, file.stem, ("solutions", "exercises"), set(), url, repository)


def _led_elsewhere(
    notebook: dict[str, Any],
    stem: str,
    shelves: tuple[str, str],
    given: set[str],
    url: str,
    repository: str,
) -> bytes:
    """Change where buttons and links lead; `shelves` are those of the buttons before and after."""
    before, after = shelves
    theirs = pages.badges(url, before, stem)
    ours = pages.badges(f"https://github.com/{repository}" if repository else url, after, stem)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"]).replace(theirs, ours)
            cell["source"] = _linked(_SOLUTIONS.sub("", text), given, url)
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _linked(text: str, given: set[str], url: str) -> str:
    def lead(link: re.Match[str]) -> str:
        before, words, shelf, name, after = link.groups(default="")
        if f"{shelf}/{name}" in given:
            return link[0]
        if shelf == "solutions":
            return f"{before}{words}{after}"
        return f"{before}[{words}]({url}/blob/main/{shelf}/{name}){after}"

    return _LINK.sub(lead, text)


def _demand_starters(file: Path, notebook: dict[str, Any]) -> None:
    """Refuse a notebook in which somebody has begun to answer, or which shows what was run."""
    chapter = int(file.stem[:2])
    starters = {
        item.id: materials.starter_of(materials.solution_cell(item))
        for item in registry.load(chapter).values()
        if isinstance(item, Exercise)
    }
    for cell in notebook["cells"]:
        mine = cell["metadata"].get("moe_teach", {})
        source = "".join(cell["source"])
        is_answer = mine.get("role") == "solution"
        if (is_answer and source != starters.get(mine["exercise"])) or materials.BEGIN in source:
            raise NotFit(
                f"{file} holds an answer to exercise {mine.get('exercise', '?')} and is not handed "
                "out. Write the course's notebooks anew with `moe-teach author build`."
            )
        if cell.get("outputs"):
            raise NotFit(f"{file} holds outputs of a run. Write it anew: `moe-teach author build`.")
