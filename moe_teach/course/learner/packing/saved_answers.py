"""Compares the notebooks on disk with what passed: a file that was not saved is handed in stale."""

import ast
import json
from datetime import UTC, datetime
from pathlib import Path

from moe_teach.course import materials, registry
from moe_teach.course.learner.mine import parts, waiting
from moe_teach.course.learner.progress_file import Record
from moe_teach.judging.exercise import Exercise

Definitions = dict[str, str]  # by name, the latest definition in a form that ignores layout


def definitions_in(notebook: Path) -> Definitions:
    """Read what the code cells of a saved notebook define; a cell that is not Python has none.

    Raises:
        ValueError: in a sentence, if the file is no notebook.
    """
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        codes = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (ValueError, TypeError, LookupError) as problem:
        raise ValueError(
            f"{notebook} is not a notebook that can be read: it may be half saved or damaged. Save "
            "it once more in Jupyter."
        ) from problem
    found: Definitions = {}
    for code in codes:
        found |= defined(code)
    return found


def defined(code: str) -> Definitions:
    """Give the functions, classes and values that a text defines at its top level."""
    lines = ["" if line.startswith(("%", "!", "?")) else line for line in code.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return {}
    found: Definitions = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            found |= dict.fromkeys(names, ast.dump(node))
    return found


def exercises_of(chapter: int) -> list[Exercise]:
    """List a chapter's exercises."""
    return [item for item in registry.load(chapter).values() if isinstance(item, Exercise)]


def is_untouched(exercise: Exercise, saved: Definitions) -> bool:
    """Tell whether an answer is missing, or still the starting code."""
    starter = defined(materials.starter_of(materials.solution_cell(exercise)))
    return saved.get(exercise.name) in (None, starter.get(exercise.name))


def warning(exercise: Exercise, notebook: Path, saved: Definitions, record: Record) -> str:
    """Say in a sentence what a notebook on disk lacks of an exercise; empty if all is well."""
    file = notebook.name
    passed = record.state == "passed"
    if is_untouched(exercise, saved):
        if not passed:
            return ""
        return (
            f"{exercise.id} has passed, but {file} on disk holds no answer to it: save the "
            "notebook in Jupyter and pack again."
        )
    if not record.attempts:
        return (
            f"{exercise.id} has an answer in {file} whose check was never run here: run it before "
            "you hand the notebook in."
        )
    part = waiting.find(exercise) or parts.find(exercise)
    if part is None or part.is_edited or _agree(defined(part.text), saved):
        return ""
    since = str(part.record.get("on", ""))
    if since > _saved_at(notebook):
        return (
            f"{file} on disk is older than your notebook in Jupyter: your answer to {exercise.id} "
            f"that passed at {since[11:16]} UTC is not in it. Save the notebook and pack again."
        )
    return (
        f"The answer to {exercise.id} in {file} is another one than the one that passed on "
        f"{since[:10]}: run its cell and its check once more."
    )


def _agree(passed: Definitions, saved: Definitions) -> bool:
    return all(saved.get(name, told) == told for name, told in passed.items())


def _saved_at(notebook: Path) -> str:
    stamp = datetime.fromtimestamp(notebook.stat().st_mtime, UTC)
    return stamp.isoformat(timespec="seconds")
