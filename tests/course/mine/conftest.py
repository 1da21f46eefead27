"""A notebook that needs no kernel: cells are run in one namespace, and their texts are kept."""

import itertools
import linecache
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from moe_teach.course.learner.mine import verb
from moe_teach.course.learner.mine.statements import Notebook

NUMBERS = itertools.count()


def run_cells(*cells: str) -> Notebook:
    """Run texts as a kernel runs cells: one namespace, and an error ends its cell only."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        name = f"<cell {next(NUMBERS)}>"
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
        try:
            exec(compile(cell, name, "exec", dont_inherit=True), namespace)
        except ZeroDivisionError:
            continue
    return Notebook(namespace, cells)


@pytest.fixture
def notebook() -> Callable[..., Notebook]:
    return run_cells


@pytest.fixture(autouse=True)
def fresh_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every test begin as a kernel that has said and loaded nothing."""
    monkeypatch.setattr(verb, "_SAID", set())
    monkeypatch.setattr(verb, "_LOADED", {})
    yield
