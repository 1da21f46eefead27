"""Every widget in a panel as narrow as a phone: its letters can be read, and all is reached."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page

from moe_teach.widgets.balance_replay import BalanceReplay
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.batch_explorer import BatchExplorer
from moe_teach.widgets.cache_replay import CacheReplay
from moe_teach.widgets.cost_calculator import CostCalculator
from moe_teach.widgets.dispatch_explorer import DispatchExplorer
from moe_teach.widgets.expert_shelf import ExpertShelf
from moe_teach.widgets.granularity import Granularity
from moe_teach.widgets.loss_axes import LossAxes
from moe_teach.widgets.route_explorer import RouteExplorer
from moe_teach.widgets.router_playground import RouterPlayground
from moe_teach.widgets.tile_map import TileMap

pytestmark = pytest.mark.browser

MEASURED = [(1, 0, [45.9, 45.3]), (2, 0, [47.5]), (4, 1, [46.8])]
WIDGETS: dict[type[CourseWidget], str] = {
    **dict.fromkeys((BalanceReplay, BatchExplorer, CacheReplay, CostCalculator), "{}()"),
    **dict.fromkeys((DispatchExplorer, ExpertShelf, LossAxes, RouteExplorer), "{}()"),
    **dict.fromkeys((RouterPlayground, TileMap), "{}()"),
    Granularity: f"{{}}.of({MEASURED})",
}
READABLE = 8  # pixels
# How tall letters come out, those of drawings too.
LETTERS = """root => {
  const words = [...root.querySelectorAll("*")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return words.map((element) =>
    parseFloat(getComputedStyle(element).fontSize) * (element.getScreenCTM?.().a ?? 1));
}"""
PAST_THE_EDGE = """root => [...root.querySelectorAll("*")].filter((element) =>
  !element.closest(".scroll, .moe-spoken, svg")
  && element.getBoundingClientRect().right > root.getBoundingClientRect().right + 1
).map((element) => element.outerHTML.slice(0, 120))"""
SCROLLS = "box => box.scrollWidth > box.clientWidth + 1"


def made(kind: type[CourseWidget]) -> str:
    return WIDGETS[kind].format(kind.__name__)


def assert_can_be_read(root: Locator, *, is_narrow: bool) -> None:
    assert min(root.evaluate(LETTERS)) >= READABLE
    assert root.evaluate(PAST_THE_EDGE) == []
    for box in root.locator(".scroll").all():
        if not box.is_visible():
            continue
        scrolls = box.evaluate(SCROLLS)
        assert box.get_attribute("tabindex") == ("0" if scrolls else None)
        if scrolls and is_narrow:
            box.focus()
            box.press("ArrowRight")
            root.page.wait_for_function("box => box.scrollLeft > 0", arg=box.element_handle())


def drawn(page: Page) -> None:
    """Wait for two frames: sizes are watched after the first."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


@pytest.mark.parametrize("width", [390, 766, 1100])
@pytest.mark.parametrize("kind", WIDGETS)
def test_a_page_without_a_kernel_can_be_read(
    static_page: Callable, kind: type[CourseWidget], width: int
) -> None:
    widget = eval(made(kind))
    size = {"width": width, "height": 1100}
    # A sheet whose rem is smaller, as in exported notebooks of the classic form.
    style = "<style>html { font-size: 10px }</style>"
    page = static_page(widget.html() + style, viewport=size)
    drawn(page)

    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert_can_be_read(page.locator(".moe-widget"), is_narrow=width == 390)


def test_a_narrow_panel_of_jupyterlab_can_be_read(notebook: Callable) -> None:
    imports = [f"from {kind.__module__} import {kind.__name__}" for kind in WIDGETS]
    shown = [f"display({made(kind)})" for kind in WIDGETS]
    book = notebook("\n".join([*imports, *shown]))
    page = book.page
    page.locator(".moe-widget").nth(len(WIDGETS) - 1).wait_for()
    for width in (470, 1100):
        page.set_viewport_size({"width": width, "height": 1300})
        drawn(page)
        for root in page.locator(".moe-widget").all():
            box = root.bounding_box()
            assert box is not None
            assert width == 1100 or 330 <= box["width"] <= 420
            assert_can_be_read(root, is_narrow=width == 470)
        book.screenshot(f"narrow_{width}")
