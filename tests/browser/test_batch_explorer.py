"""The batch explorer as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.batch_explorer import BatchExplorer

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.batch_explorer import BatchExplorer\nw = BatchExplorer()"


def test_slots_plan_and_step_move_on_both_sides(notebook: Callable, eventually: Callable) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-batch-explorer")

    widget.get_by_role("slider", name="slots").fill("5")
    eventually(lambda: book.execute("", "w.n_slots"), 5)
    widget.get_by_role("button", name="a batch at a time").click()
    eventually(lambda: book.execute("", "w.plan"), "a batch at a time")

    widget.get_by_role("slider", name="look at step").focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.step"), 1)
    widget.locator(".status").get_by_text("Step 1 of").wait_for()

    book.execute("w.n_slots = 1")
    widget.locator("text=slot 4").wait_for(state="detached")
    book.screenshot("batch_explorer_light")


def test_a_page_without_a_kernel_still_plans(static_page: Callable, picture: Callable) -> None:
    page = static_page(BatchExplorer(step=4).html(), theme="dark")
    widget = page.locator(".moe-batch-explorer")
    assert widget.locator(".prompt").count() > 0
    picture(widget, "batch_explorer_static_dark")

    n_steps = widget.locator(".step").count()
    page.get_by_role("button", name="a batch at a time").click()
    assert widget.locator(".step").count() > n_steps
    widget.locator(".step").nth(2).locator(".rows").click(force=True)
    assert "Step 2 of" in widget.locator(".status").inner_text()
