"""Tells whether a check is still the one that graded: by its text, and that of what it uses.

A version is raised by hand when what is asked changes. A mended check asks the same and judges
differently; that shows only in its source.
"""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from moe_teach.course import materials, registry
from moe_teach.judging.exercise import Exercise

_ROOMS = "moe_teach.chapters."


@cache
def fingerprint(exercise_id: str) -> str:
    """Give twelve hex digits that change with an exercise's card, its stages and its solution."""
    exercise = registry.find_exercise(exercise_id)
    parts = [exercise.id, str(exercise.version), str(exercise.points), str(exercise.limit)]
    parts += [_text(module) for module in sorted(_with_what_it_imports(exercise.module))]
    parts.append(materials.solution_cell(exercise))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def exercises_of(chapter: int) -> list[str]:
    """Give the ids of a chapter's exercises; none for a chapter that does not exist."""
    if chapter not in registry.chapters():
        return []
    items = registry.load(chapter).values()
    return [item.id for item in items if isinstance(item, Exercise)]


def _with_what_it_imports(module: str) -> set[str]:
    """Follow a check's imports inside its chapter's room."""
    room = ".".join(module.split(".")[:3]) + "."
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or not name.startswith(room):
            continue
        found.add(name)
        for node in ast.walk(ast.parse(_text(name))):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
        waiting = [name for name in waiting if _file(name)]
    return found


def _text(module: str) -> str:
    file = _file(module)
    return file.read_text(encoding="utf-8") if file else ""


@cache
def _file(module: str) -> Path | None:
    if not module.startswith(_ROOMS):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):  # a name in a module, not a module
        return None
    return Path(spec.origin) if spec and spec.origin else None
