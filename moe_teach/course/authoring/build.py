"""Builds every notebook of the course from its source; the same source always gives the same bytes.

Cell ids derive from content, so a rebuild changes only what was edited. Exercises carry nbgrader's
metadata (schema v3) on their solution and check cells and the course's own under `moe_teach`. A
lesson keeps the stored outputs of the cells that did not change, and the seal of its last run.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.authoring import pages
from moe_teach.course.authoring.seal import Seal, stored_seal
from moe_teach.course.authoring.sources import PLAY, Cell, Source, SourceError, all_sources
from moe_teach.judging.exercise import Exercise

_OF_SET_UP = "from moe_teach.course import check"
_NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def build(root: Path, only: Iterable[int] = ()) -> dict[Path, str]:
    """Give the text of every generated notebook under `root`, by path; writes nothing.

    `only` restricts the result to some chapters. Raises `SourceError` in a sentence when a source
    breaks a rule.
    """
    sources = all_sources(root)
    url = pages.repository_url(root)
    titles = {source.stem: source.title for source in sources if source.shelf == "notebooks"}
    practised = {source.chapter: source.stem for source in sources if source.shelf == "solutions"}
    wanted = set(only)
    texts: dict[Path, str] = {}
    for source in sources:
        if wanted and source.chapter not in wanted:
            continue
        name = f"{source.stem}.ipynb"
        if source.shelf == "notebooks":
            cells = lesson_cells(source, url, titles, practised)
            path = root / "notebooks" / name
            texts[path] = write(cells, *stored_run(path))
            continue
        for shelf in ("exercises", "solutions"):
            texts[root / shelf / name] = write(practice_cells(source, shelf, url, titles))
    return texts


def lesson_cells(
    source: Source, url: str, titles: dict[str, str], practised: dict[int, str]
) -> list[Cell]:
    """Add badges, set-up and navigation to a lesson's own cells; exercises go by chapter."""
    first, *rest = source.cells
    badge_line = pages.badges(url, "notebooks", source.stem)
    onward = pages.navigation(source.stem, titles, exercises=practised.get(source.chapter, ""))
    return [
        Cell("markdown", pages.opening(first.source, badge_line)),
        Cell("code", pages.setup_code(url, source.chapter), role="setup"),
        *rest,
        Cell("markdown", onward),
    ]


def practice_cells(source: Source, shelf: str, url: str, titles: dict[str, str]) -> list[Cell]:
    """Build the exercise notebook (`shelf` exercises) or the solution notebook of a chapter."""
    first, *rest = source.cells
    exercises = [cell.item_id for cell in rest if cell.role == "check"]
    if not exercises:
        raise SourceError(f"{source.path.name} holds no exercise.")
    titles = titles if source.stem in titles else {**titles, source.stem: source.title}
    extra = pages.how_to_work(exercises[0], source.stem, titles[source.stem])
    badge_line = pages.badges(url, shelf, source.stem)
    return [
        Cell("markdown", pages.opening(first.source, badge_line, extra)),
        Cell("code", pages.setup_code(url, source.chapter), role="setup"),
        *(_practice_cell(cell, shelf) for cell in _without_set_up(rest)),
        Cell("markdown", pages.navigation(source.stem, titles)),
    ]


def write(
    cells: list[Cell], outputs: dict[str, dict[str, Any]] | None = None, seal: Seal | None = None
) -> str:
    """Turn cells into the text of a notebook; `outputs` maps cell ids to what was stored."""
    import nbformat
    from nbformat import v4

    seen: Counter[str] = Counter()
    nodes = []
    for cell in cells:
        identity = cell_id(cell, seen)
        make = v4.new_markdown_cell if cell.kind == "markdown" else v4.new_code_cell
        node = make(source=cell.source, id=identity, metadata=_metadata(cell))
        if cell.kind == "code":
            node.update(nbformat.from_dict((outputs or {}).get(identity, {})))
        nodes.append(node)
    metadata = _NOTEBOOK_METADATA | ({"moe_teach": {"run": seal}} if seal else {})
    notebook = v4.new_notebook(cells=nodes, metadata=metadata)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def cell_id(cell: Cell, seen: Counter[str]) -> str:
    """Name a cell after its content, so that one edit changes one id."""
    digest = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:8]
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def stored_run(path: Path) -> tuple[dict[str, dict[str, Any]], Seal | None]:
    """Read the outputs of an executed notebook by cell id, and its seal; none without a file."""
    if not path.is_file():
        return {}, None
    notebook = json.loads(path.read_text(encoding="utf-8"))
    outputs = {
        cell["id"]: {"outputs": cell["outputs"], "execution_count": cell["execution_count"]}
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    }
    return outputs, stored_seal(notebook)


def unwanted(root: Path, built: dict[Path, str]) -> list[Path]:
    """List the notebooks on disk that no source builds."""
    shelves = ("notebooks", "exercises", "solutions")
    found = [path for shelf in shelves for path in sorted((root / shelf).glob("*.ipynb"))]
    return [path for path in found if path not in built]


def _without_set_up(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Leave out the import that the set-up cell has made; the source needs it, being a module."""
    for cell in cells:
        if cell.kind == "code" and not cell.role:
            lines = [line for line in cell.source.splitlines() if line != _OF_SET_UP]
            cell = replace(cell, source="\n".join(lines).strip("\n"))
        if cell.source:
            yield cell


def _practice_cell(cell: Cell, shelf: str) -> Cell:
    if not cell.role:
        return cell
    if cell.role == PLAY:
        return Cell(cell.kind, cell.source, PLAY, metadata={"moe_teach": {"role": PLAY}})
    exercise = registry.find_exercise(cell.item_id)
    source = cell.source
    if cell.role == "heading":
        return Cell("markdown", pages.exercise_heading(source, exercise), role="heading")
    if cell.role == "solution" and shelf == "exercises":
        source = materials.starter_of(source)
    metadata = {
        "nbgrader": _nbgrader(cell, exercise),
        "moe_teach": {
            "exercise": exercise.id,
            "role": cell.role,
            "version": exercise.version,
        },
    }
    if cell.role == "solution":
        metadata["moe_teach"]["starter"] = _short_hash(materials.starter_of(cell.source))
    return Cell(cell.kind, source, cell.role, cell.item_id, metadata)


def _nbgrader(cell: Cell, exercise: Exercise) -> dict[str, Any]:
    """Write exactly the keys that nbgrader's schema v3 allows for this kind of cell."""
    is_check = cell.role == "check"
    facts: dict[str, Any] = {
        "grade": is_check,
        "grade_id": f"{cell.role}-{exercise.id.replace('.', '-')}",
        "locked": is_check,
        "schema_version": 3,
        "solution": not is_check,
        "task": False,
    }
    if is_check:
        facts["points"] = exercise.points
    return facts


def _metadata(cell: Cell) -> dict[str, Any]:
    if cell.role == "setup":
        return {"moe_teach": {"role": "setup"}}
    return cell.metadata


def _short_hash(text: str) -> str:
    """Eight hex digits that change with `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
