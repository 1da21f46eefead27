"""The inner loop, `pytest -p tests.quick`: the first case of every test that is over soon.

The first case of a test is the one most worth having, since edge shapes come first. What trains,
times, compiles, begins a new Python or opens a notebook or a browser waits for `make test`.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

LEFT_OUT = ("notebook", "browser", "index")
LEFT_OUT_PATHS = (
    "bench",
    "browser",
    "train",
    "test_notebooks.py",
    "test_experiments.py",
    "test_baselines.py",
    "test_spine.py",
    "test_carrying.py",
    "test_compiled.py",
    "test_compiled_model.py",
    "test_triton_mode.py",
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave folders and files of slow tests unread; None lets pytest decide about the rest."""
    return True if collection_path.name in LEFT_OUT_PATHS else None


def first_cases(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Keep the first case of every test function, in the order given."""
    kept, seen = [], set()
    for item in items:
        function = item.nodeid.partition("[")[0]
        if function not in seen and not any(map(item.get_closest_marker, LEFT_OUT)):
            seen.add(function)
            kept.append(item)
    return kept


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let pytest run the first cases only."""
    kept = first_cases(items)
    staying = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in staying])
    items[:] = kept
