"""The inner loop keeps one case of everything that needs no notebook, browser or index."""

from pathlib import Path
from types import SimpleNamespace

from tests.quick import LEFT_OUT_PATHS, first_cases, pytest_ignore_collect


def item(nodeid: str, *markers: str) -> SimpleNamespace:
    return SimpleNamespace(
        nodeid=nodeid,
        path=Path(nodeid.partition("::")[0]),
        get_closest_marker=lambda name: name in markers,
    )


def test_the_first_case_of_every_test_is_kept_and_the_house_whole() -> None:
    items = [
        item("ops/test_a.py::test_one[no tokens]"),
        item("ops/test_a.py::test_one[some]"),
        item("ops/test_a.py::test_two"),
        item("ops/test_b.py::test_one[some]", "browser"),
        item("ops/test_b.py::test_one[others]"),
    ]

    kept = first_cases(items)

    assert [items.index(each) for each in kept] == [0, 2, 4]


def test_what_is_left_unread_is_there_and_the_rest_is_left_to_pytest() -> None:
    tests = Path(__file__).parent

    assert all(any(tests.rglob(name)) for name in LEFT_OUT_PATHS)
    assert all(pytest_ignore_collect(tests / name) for name in LEFT_OUT_PATHS)
    assert pytest_ignore_collect(tests / "ops") is None
