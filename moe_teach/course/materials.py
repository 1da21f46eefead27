"""Reads the generated solution notebooks, from the clone or from the installed package.

They hold everything that `solution`, `reset` and the engine need of an exercise: its starter, its
solution and the imports both rely on. Plain JSON, so no notebook library is needed.
"""

import contextlib
import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from moe_teach.course import registry
from moe_teach.files import course_folder
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.filing import file_source

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
STUB = "raise NotImplementedError"
_REGION = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n.*?^[ \t]*{END}[ \t]*(?:\n|\Z)", re.M | re.S)
_MARKER = re.compile(rf"^[ \t]*(?:{BEGIN}|{END})[ \t]*(?:\n|\Z)", re.M)

Cell = tuple[str, str, str]  # role, exercise id, source


class MissingMaterial(LookupError):
    """A solution notebook, or an exercise in it, is not where it should be."""


def starter_of(code: str) -> str:
    """Replace every solution region by the stub that asks for work, at the same indent."""
    return _REGION.sub(rf"\1{STUB}\n", code).rstrip("\n")


def without_markers(code: str) -> str:
    """Remove the marker lines and keep what stands between them."""
    return _MARKER.sub("", code).rstrip("\n")


def solution_cell(exercise: Exercise) -> str:
    """Give the source of an exercise's solution cell, markers included."""
    for role, item_id, source in cells_of(exercise.chapter):
        if role == "solution" and item_id == exercise.id:
            return source
    raise MissingMaterial(f"The solution notebook has no cell for exercise {exercise.id}.")


def reference(exercise: Exercise) -> Any:
    """Run a chapter's solution cells in a namespace of their own and give the one asked for."""
    return _namespace(exercise.chapter)[exercise.name]


def build_namespace(cells: list[Cell]) -> dict[str, Any]:
    """Run the code cells that define things (not the checks) and return what they define.

    What they print is for the readers of that notebook, and for nobody here.
    """
    namespace: dict[str, Any] = {"__name__": "solutions"}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, (role, _item_id, source) in enumerate(cells):
            if role in ("code", "solution"):
                file = file_source(source, f"solution cell {number}")
                exec(compile(source, file, "exec"), namespace)
    return namespace


@cache
def cells_of(chapter: int) -> list[Cell]:
    """Give the code cells of a chapter's solution notebook in order."""
    notebook = course_folder() / "solutions" / f"{registry.chapters().get(chapter)}.ipynb"
    if notebook.is_file():
        return code_cells(notebook)
    raise MissingMaterial(
        f"The solutions of chapter {chapter:02d} are not installed here. They are in the "
        "folder solutions/ of the course's repository."
    )


def code_cells(notebook: Path) -> list[Cell]:
    """Read the code cells of a notebook file, in order."""
    cells = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            mine = cell["metadata"].get("moe_teach", {})
            source = "".join(cell["source"])
            cells.append((mine.get("role", "code"), mine.get("exercise", ""), source))
    return cells


@cache
def _namespace(chapter: int) -> dict[str, Any]:
    return build_namespace(cells_of(chapter))
