"""Reads the hand-written sources of a chapter (jupytext's percent format) into cells with roles.

Only authors need this module; jupytext is imported where it is used.
"""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moe_teach.course.materials import BEGIN, END

_CHECK = re.compile(r'^check\("(\d+\.\d+)",\s*(\w+)\)$')
_HEADING = re.compile(r"^## Exercise (\d+\.\d+):", re.M)
_STEM = re.compile(r"^\d\d[b-z]?_[a-z0-9_]+$")
PLAY = "play"  # tag and role of a cell that uses answers: no answer and no check may need it


class SourceError(ValueError):
    """A source breaks a rule of the format; the message says which and where."""


@dataclass
class Cell:
    """One cell: `kind` is markdown or code; `role` says what the builder does with it."""

    kind: str
    source: str
    role: str = ""
    item_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One source file: `shelf` is the folder it lies in, notebooks or solutions."""

    path: Path
    cells: tuple[Cell, ...]

    @property
    def stem(self) -> str:
        """Number and slug, e.g. 03_router; the second page of chapter 06 begins with 06b."""
        return self.path.stem

    @property
    def chapter(self) -> int:
        """The chapter; all pages of one share its number."""
        return int(self.stem[:2])

    @property
    def shelf(self) -> str:
        """The folder: notebooks (lessons) or solutions (exercises)."""
        return self.path.parent.name

    @property
    def title(self) -> str:
        """The heading of the first cell, without its marks."""
        return self.cells[0].source.splitlines()[0].removeprefix("#").strip()


def all_sources(root: Path) -> list[Source]:
    """Read every lesson and exercise source under `root`, in order."""
    paths = [p for shelf in ("notebooks", "solutions") for p in sorted((root / shelf).glob("*.py"))]
    return [read(path) for path in paths]


def read(path: Path) -> Source:
    """Read one source; raises `SourceError` in a sentence when it breaks a rule."""
    import jupytext

    if not _STEM.match(path.stem):
        raise SourceError(
            f"{path.name}: a source is called NN_slug.py, e.g. 03_router.py, and the "
            "second page of a chapter NNb_slug.py."
        )
    parsed = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    cells = [_cell(cell) for cell in parsed.cells if cell.source.strip()]
    if not cells or cells[0].kind != "markdown" or not cells[0].source.startswith("# "):
        raise SourceError(f"{path.name}: the first cell must be markdown and begin with '# # '.")
    if path.parent.name == "solutions":
        _assign_roles(path, cells)
    return Source(path, tuple(cells))


def checked_ids(source: Source) -> list[str]:
    """List the ids of all `check(...)` calls in a source, in order."""
    found = []
    for cell in source.cells:
        if cell.kind == "code":
            found += _check_calls(source.path, cell.source)
    return found


def _cell(parsed: Any) -> Cell:
    tags = parsed.metadata.get("tags")
    metadata = {"tags": list(tags)} if tags else {}
    return Cell(parsed.cell_type, parsed.source.strip("\n"), metadata=metadata)


def _assign_roles(path: Path, cells: list[Cell]) -> None:
    """Mark headings, solutions and checks of an exercise source, each with its exercise's id.

    A cell tagged "play" shows what can be done with the answers. It is for a reader's eyes: whoever
    needs the solutions alone (the engine, `mine`, the gates) does not run it.
    """
    waiting: Cell | None = None
    for cell in cells:
        if cell.kind == "markdown":
            heading = _HEADING.search(cell.source)
            if heading:
                cell.role, cell.item_id = "heading", heading.group(1)
            continue
        if PLAY in cell.metadata.get("tags", ()):
            cell.role = PLAY
        match = _CHECK.match(cell.source)
        if BEGIN in cell.source:
            _require_pairs(path, cell.source)
            if waiting is not None:
                raise SourceError(f"{path.name}: a solution cell has no check cell after it.")
            cell.role, waiting = "solution", cell
        elif match:
            if waiting is None:
                raise SourceError(f"{path.name}: {cell.source} has no solution cell before it.")
            cell.role = "check"
            cell.item_id = waiting.item_id = match.group(1)
            _require_definition(path, waiting, match.group(2))
            waiting = None
        elif "check(" in cell.source and _check_calls(path, cell.source):
            raise SourceError(
                f'{path.name}: a check stands alone in its cell, written check("3.1", name): '
                f"{cell.source.splitlines()[0]!r}."
            )
    if waiting is not None:
        raise SourceError(f"{path.name}: the last solution cell has no check cell after it.")


def _require_pairs(path: Path, code: str) -> None:
    marks = [line.strip() for line in code.splitlines() if line.strip() in (BEGIN, END)]
    if marks != [BEGIN, END] * (len(marks) // 2):
        raise SourceError(f"{path.name}: every '{BEGIN}' needs its '{END}' below it.")


def _require_definition(path: Path, cell: Cell, name: str) -> None:
    defined = {
        node.name
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    if name not in defined:
        raise SourceError(f"{path.name}: check {cell.item_id} asks for {name}, defined nowhere.")


def _check_calls(path: Path, code: str) -> list[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError as problem:
        raise SourceError(f"{path.name}: a cell is not Python: {problem}.") from problem
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "check"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
