"""The inner loop, `pytest -p tests.quick`: the first case of every test, no notebook, no browser.

The first case of a test is the one most worth having, since edge shapes come first. What guards the
shape of the house is kept whole: it is quick, and its cases are the modules themselves.
"""

from collections.abc import Iterable

import pytest

LEFT_OUT = ("notebook", "browser", "index")
WHOLE = ("test_house.py",)


def first_cases(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Keep the first case of every test function, in the order given."""
    kept, seen = [], set()
    for item in items:
        function = item.nodeid.partition("[")[0]
        is_first = function not in seen or item.path.name in WHOLE
        if is_first and not any(map(item.get_closest_marker, LEFT_OUT)):
            seen.add(function)
            kept.append(item)
    return kept


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let pytest run the first cases only."""
    kept = first_cases(items)
    staying = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in staying])
    items[:] = kept
