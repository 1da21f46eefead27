"""Tells whether a check is still the one that graded: by its text, and that of what it uses.

A version is raised by hand when what is asked changes. A mended check asks the same and judges
differently; that shows only in its source. What counts is the chapter's own room, as far as the
check imports it, and what judges there: the engine and the parts of `judging` that it or the check
imports. What the library computes does not count: its own tests hold that.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import moe_teach
from moe_teach.course import materials, registry
from moe_teach.judging.exercise import Exercise

_JUDGING = "moe_teach.judging"
_ENGINE = f"{_JUDGING}.engine"


@cache
def fingerprint(exercise_id: str) -> str:
    """Give twelve hex digits that change with an exercise's card, its stages and its solution.

    They change with the code that runs the stages, too.
    """
    return fingerprint_in(Path(str(moe_teach.__file__)).parents[1], exercise_id)


def fingerprint_in(root: Path, exercise_id: str) -> str:
    """Give the digits for the sources under `root`; the solution is that of this course."""
    exercise = registry.find_exercise(exercise_id)
    parts = [exercise.id, str(exercise.version), str(exercise.points), str(exercise.limit)]
    used = _with_what_they_import(root, exercise.module)
    parts += [_text(root, module) for module in sorted(used)]
    parts.append(materials.solution_cell(exercise))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def exercises_of(chapter: int) -> list[str]:
    """Give the ids of a chapter's exercises; none for a chapter that does not exist."""
    if chapter not in registry.chapters():
        return []
    items = registry.load(chapter).values()
    return [item.id for item in items if isinstance(item, Exercise)]


def _with_what_they_import(root: Path, module: str) -> set[str]:
    """Follow the imports of a check and of the engine, inside the chapter's room and `judging`."""
    room = ".".join(module.split(".")[:3])
    found: set[str] = set()
    waiting = [module, _ENGINE]
    while waiting:
        name = waiting.pop()
        is_near = name.startswith((f"{room}.", f"{_JUDGING}."))
        if is_near and name not in found and (text := _text(root, name)):
            found.add(name)
            waiting += _imported(text)
    return found


@cache
def _imported(text: str) -> tuple[str, ...]:
    """List what a source imports; some of these names are modules, the others things in them."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return tuple(names)


def _text(root: Path, module: str) -> str:
    path = root.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""
