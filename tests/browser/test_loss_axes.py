"""The loss axes as their readers meet them: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.loss_axes import LossAxes

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.loss_axes import LossAxes\nw = LossAxes()"


def test_axis_keys_mouse_and_python_move_the_same_budget(
    notebook: Callable, eventually: Callable, drag: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-loss-axes")
    assert book.execute("", "w.budget") == 800

    widget.get_by_role("slider", name="budget in steps").focus()
    book.page.keyboard.press("ArrowLeft")
    eventually(lambda: book.execute("", "w.budget"), 784)

    widget.get_by_role("button", name="seconds").click()
    eventually(lambda: book.execute("", "w.axis"), "seconds")
    budget = widget.get_by_role("slider", name="budget in seconds")
    before = book.execute("", "w.budget")
    drag(book.page, budget.locator("rect"), by=(-150, 0))
    eventually(lambda: book.execute("", "w.budget") < before, True)

    book.execute("w.axis = 'flops'; w.budget = 4e11")
    widget.locator(".status").get_by_text("At 400 GFLOP").wait_for()
    assert (
        widget.locator(".status")
        .inner_text()
        .startswith("At 400 GFLOP: 1. " + book.execute("", "w.ranking()[0].name"))
    )
    book.screenshot("loss_axes_light")


def test_a_page_without_a_kernel_still_ranks(static_page: Callable, picture: Callable) -> None:
    page = static_page(LossAxes().html(), theme="dark")
    widget = page.locator(".moe-loss-axes")

    widget.get_by_role("button", name="active FLOPs").click()
    widget.get_by_role("slider", name="budget in active FLOPs").wait_for()
    page.keyboard.press("Tab")
    widget.get_by_role("checkbox").check()
    assert "FLOP: 1. " in widget.locator(".status").inner_text()
    picture(widget, "loss_axes_static_dark")


def test_a_narrow_page_holds_the_picture(static_page: Callable, picture: Callable) -> None:
    page = static_page(LossAxes().html(), viewport={"width": 600, "height": 1300})

    assert page.evaluate("() => document.documentElement.scrollWidth") <= 600
    picture(page.locator(".moe-loss-axes"), "loss_axes_narrow")
