"""Finds what a thing holds on to: closures, arguments of partials, members, attributes."""

import functools
import types
from collections.abc import Iterator
from typing import Any

from moe_teach.course.learner.mine.imports import is_installed


def held_by(value: Any) -> Iterator[tuple[str, Any]]:
    """Give what a function, partial, container or object keeps from the moment it was made."""
    seen: list[Any] = []
    waiting: list[tuple[str, Any]] = [("its value", value)]
    while waiting and len(seen) < 1000:
        what, one = waiting.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        if len(seen) > 1:
            yield what, one
        waiting += _parts_of(one)


def _parts_of(one: Any) -> list[tuple[str, Any]]:
    if isinstance(one, types.FunctionType):
        if is_installed(one.__module__ or "") and not hasattr(one, "__wrapped__"):
            return []
        cells = zip(one.__code__.co_freevars, one.__closure__ or (), strict=False)
        return [(f"`{name}`", c.cell_contents) for name, c in cells if _is_filled(c)]
    if isinstance(one, functools.partial):
        named = [(f"`{name}`", v) for name, v in one.keywords.items()]
        return [("its function", one.func), *(("an argument", a) for a in one.args), *named]
    if isinstance(one, types.MethodType):
        return [("its object", one.__self__)]
    if type(one) in (list, tuple, set, frozenset):
        return [("a member", member) for member in one]
    if type(one) is dict:
        return [(f"`{key}`", member) for key, member in one.items()]
    is_own = not isinstance(one, type | types.ModuleType) and not is_installed(type(one).__module__)
    return [(f"`{n}`", v) for n, v in getattr(one, "__dict__", {}).items()] if is_own else []


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
