"""The granularity widget as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.granularity import Granularity

pytestmark = pytest.mark.browser

MEASURED = [(1, 0, [45.9, 45.3, 45.8]), (2, 0, [47.5, 47.0]), (4, 0, [47.0]), (4, 1, [46.8, 46.7])]
SETUP = f"from moe_teach.widgets.granularity import Granularity\nw = Granularity.of({MEASURED!r})"


def test_sliders_and_python_move_the_same_layer(notebook: Callable, eventually: Callable) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-granularity")

    widget.get_by_role("slider", name="parts per expert").fill("2")
    eventually(lambda: book.execute("", "w.split"), 4)

    widget.get_by_role("slider", name="always on").focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.n_shared"), 1)
    widget.locator(".status").get_by_text("4,495 routes").wait_for()
    assert widget.locator(".layer .shared").count() == 1
    assert widget.locator(".layer .chosen").count() == 3

    book.execute("w.split = 1")
    widget.locator(".status").get_by_text("8 routed experts of width 64").wait_for()
    assert widget.locator(".layer .shared").count() == 0
    book.screenshot("granularity_light")


def test_a_page_without_a_kernel_still_cuts(static_page: Callable, picture: Callable) -> None:
    page = static_page(Granularity.of(MEASURED, split=4, n_shared=1).html(), theme="dark")
    widget = page.locator(".moe-granularity")
    assert widget.locator(".chart .here").count() == 1
    picture(widget, "granularity_static_dark")

    page.get_by_role("slider", name="parts per expert").fill("0")

    assert "8 routes" in widget.locator(".status").inner_text()
    assert "45.7 kilobits" in widget.locator(".status").inner_text()
