"""Every widget's two halves, Python and JavaScript, name the same traits."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import moe_teach.widgets
from moe_teach.widgets.base import CourseWidget


def course_widgets() -> list[type[CourseWidget]]:
    modules = pkgutil.iter_modules(moe_teach.widgets.__path__, "moe_teach.widgets.")
    return [
        member
        for name in sorted(module.name for module in modules)
        for _, member in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if issubclass(member, CourseWidget)
        and member.__module__ == name != "moe_teach.widgets.base"
    ]


WIDGETS = course_widgets()
every_widget = pytest.mark.parametrize("widget", WIDGETS, ids=lambda widget: widget.__name__)


def half(widget: type[CourseWidget], suffix: str) -> str:
    return Path(inspect.getfile(widget)).with_suffix(suffix).read_text(encoding="utf-8")


@every_widget
def test_both_halves_name_the_same_traits(widget: type[CourseWidget]) -> None:
    script = half(widget, ".js")
    used = set(re.findall(r'model\.(?:get|set)\(\s*"(\w+)"', script))
    used |= set(re.findall(r'"change:(\w+)"', script))

    assert used == set(widget.data_traits())


@every_widget
def test_the_script_needs_nothing_from_elsewhere(widget: type[CourseWidget]) -> None:
    script = widget._esm

    assert not re.search(r"^\s*import\b|\bimport\(|\bfetch\(", script, flags=re.MULTILINE)
    # The names of XML's vocabularies look like addresses and are none.
    assert not re.search(r"https?://(?!www\.w3\.org/)", script + widget._css)


@every_widget
def test_the_shipped_script_runs_as_one_module(
    widget: type[CourseWidget], in_node: Callable, tmp_path: Path
) -> None:
    (tmp_path / "shipped.js").write_text(widget._esm, encoding="utf-8")

    assert in_node(str(tmp_path / "shipped"), "typeof m.default.render", [None]) == ["function"]


@every_widget
def test_the_style_stays_inside_the_widget(widget: type[CourseWidget]) -> None:
    style = re.sub(r"/\*.*?\*/", "", widget._css, flags=re.DOTALL)
    # A selector is what stands before a brace, outside keyframes and at-rules.
    style = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", style)
    selectors = [s.strip() for s in re.findall(r"([^{};]+)\{", style) if "@" not in s]

    assert selectors
    for group in selectors:
        for selector in group.split(","):
            assert ".moe-" in selector, f"{selector!r} would style the page around the widget"
            assert ".moe-widget" not in selector, f"{selector!r} would style its neighbours"


@every_widget
def test_the_widget_says_what_it_shows_and_what_to_try(widget: type[CourseWidget]) -> None:
    assert widget.__doc__
    assert len(widget.alt) > 40
    assert len(widget.what_to_try) == len(set(widget.what_to_try)) == 3
    assert all(sentence.endswith((".", "?", "!")) for sentence in widget.what_to_try)
