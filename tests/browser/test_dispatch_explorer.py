"""The dispatch explorer as its readers meet it: in JupyterLab, and on a page without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.dispatch_explorer import DispatchExplorer

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.dispatch_explorer import DispatchExplorer\nw = DispatchExplorer()"


def test_sliders_buttons_keys_and_python_move_the_same_batch(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-dispatch-explorer")

    widget.get_by_role("slider", name="capacity factor").fill("2")
    eventually(lambda: book.execute("", "w.capacity_factor"), 2)

    widget.get_by_role("button", name="largest gate").click()
    eventually(lambda: book.execute("", "w.policy"), "by_gate")

    widget.get_by_role("button", name="token 0:").click()
    book.page.keyboard.press("ArrowRight")
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.selected"), 2)

    book.execute("w.capacity_factor = 0.5\nw.skew = 2.0")
    widget.locator(".status").get_by_text("Each expert has 6 places").wait_for()
    assert widget.locator(".cell.dropped").count() > 0
    book.screenshot("dispatch_explorer_light")


def test_a_page_without_a_kernel_still_serves_and_drops(
    static_page: Callable, picture: Callable
) -> None:
    page = static_page(DispatchExplorer(skew=2.0).html(), theme="dark")
    dropped = page.locator(".moe-dispatch-explorer .cell.dropped")
    assert dropped.count() > 0
    picture(page.locator(".moe-dispatch-explorer"), "dispatch_explorer_static_dark")

    page.get_by_role("slider", name="capacity factor").fill("3")
    page.get_by_role("slider", name="extra skew").fill("0")

    assert dropped.count() == 0
