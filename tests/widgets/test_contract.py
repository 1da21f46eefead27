"""Every widget's two halves, Python and JavaScript, name the same traits."""

import importlib
import inspect
import pkgutil
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import moe_teach.widgets
from moe_teach.plots.style import INK, PALETTE
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.dispatch_explorer import DispatchExplorer
from moe_teach.widgets.granularity import Granularity
from moe_teach.widgets.tile_map import TileMap


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


@every_widget
def test_a_widget_that_nobody_has_run_shows_a_light_picture(widget: type[CourseWidget]) -> None:
    picture = widget().picture()
    marks = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()]

    assert marks[0] == "svg" and len(marks) > 4
    assert len(picture) < 20_000
    assert f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}" in widget().html()


def test_still_pictures_and_figures_share_their_ink() -> None:
    assert still.INK == INK
    assert [colour.upper() for colour in still.COLOURS] == [colour.upper() for colour in PALETTE]


@pytest.mark.parametrize(
    "crowded",
    [
        TileMap(tokens_per_expert=[512], block_rows=1, block_columns=1),
        Granularity(n_experts=8, d_ff=64, split=64),
    ],
    ids=["one program per number", "512 parts"],
)
def test_a_picture_of_too_many_marks_is_left_out(crowded: CourseWidget) -> None:
    assert crowded.picture() == ""
    assert "data:image/svg" not in crowded.html()


@pytest.mark.parametrize("random", [{"policy": "random"}, {"order": "shuffled"}])
def test_what_the_browser_draws_by_lot_has_no_still_picture(random: dict[str, str]) -> None:
    assert DispatchExplorer(**random).picture() == ""


def test_the_still_picture_of_places_agrees_with_the_layer() -> None:
    explorer = DispatchExplorer(capacity_factor=0.75)
    kept = explorer.routing().kept
    assert kept is not None
    crosses = explorer.picture().count("<polyline") - 1  # two strokes each, and the line

    assert crosses == 2 * int((~kept).sum())
