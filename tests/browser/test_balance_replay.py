"""The balance replay as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.course.experiments import stored
from moe_teach.widgets.balance_replay import BalanceReplay, Replay

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.balance_replay import BalanceReplay\nw = BalanceReplay(step=0)"


def test_keys_play_and_python_move_the_same_replay(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-balance-replay")
    steps = widget.get_by_role("slider", name="training step")

    steps.focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.step"), 30)
    book.page.keyboard.press("End")
    eventually(lambda: book.execute("", "w.step"), 600)
    widget.get_by_role("button", name="play").click()
    widget.get_by_role("button", name="pause").wait_for()
    eventually(lambda: book.execute("", "w.step") in range(30, 570), True)
    widget.get_by_role("button", name="pause").click()

    widget.get_by_role("button", name="bias", exact=True).click()
    eventually(lambda: book.execute("", "w.method"), "bias")
    assert widget.locator(".panel:visible").count() == 1

    book.execute("w.method = ''; w.step = 600; w.token = 4")
    widget.locator(".panel").nth(2).get_by_text("def").first.wait_for()
    book.page.wait_for_function(
        "() => document.querySelectorAll('.moe-balance-replay .token[aria-pressed=true]')"
        ".length === 3"
    )
    assert widget.locator(".panel:visible").count() == 3
    book.screenshot("balance_replay_light")


def test_a_page_without_a_kernel_still_replays(static_page: Callable, picture: Callable) -> None:
    page = static_page(BalanceReplay().html(), theme="dark")
    widget = page.locator(".moe-balance-replay")

    page.get_by_role("slider", name="training step").fill("0")
    assert "Step 0." in widget.locator("p[role=status]").inner_text()
    widget.locator(".token").nth(3).click()
    assert widget.locator(".token[aria-pressed=true]").count() == 3
    page.keyboard.press("ArrowRight")
    assert "“def”" in widget.locator("p[role=status]").inner_text()
    picture(widget, "balance_replay_static_dark")


def test_the_stored_runs_fit_a_narrow_page(static_page: Callable, picture: Callable) -> None:
    runs = {cell.name: Replay(**cell.result) for cell in stored("06_replay").cells}
    size = {"width": 600, "height": 1300}
    page = static_page(BalanceReplay.of(runs).html(), viewport=size)

    assert page.evaluate("() => document.documentElement.scrollWidth") <= 600
    picture(page.locator(".moe-balance-replay"), "balance_replay_narrow")
