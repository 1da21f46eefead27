"""The cache replay as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.deploy.store.foresight import as_before
from moe_teach.deploy.store.trace import drawn
from moe_teach.widgets.cache_replay import CacheReplay

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.cache_replay import CacheReplay\nw = CacheReplay()"


def test_memory_policy_and_text_move_on_both_sides(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-cache-replay")

    widget.get_by_role("combobox", name="trace").select_option("text B")
    eventually(lambda: book.execute("", "w.trace"), "text B")
    widget.get_by_role("button", name="pinned", exact=True).click()
    eventually(lambda: book.execute("", "w.policy"), "pinned")
    widget.get_by_role("slider", name="memory for experts").fill("24")
    eventually(lambda: book.execute("", "w.room"), 24)
    widget.get_by_role("slider", name="read ahead, layers").fill("1")
    eventually(lambda: book.execute("", "w.distance"), 1)

    widget.get_by_role("slider", name="look at token").focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.token"), 1)
    widget.locator(".status").get_by_text("Token 1, layer 0").wait_for()

    book.execute("w.room = 6; w.policy = 'LFU'")
    shown = widget.locator("dd").first.inner_text
    eventually(lambda: shown() != "", True)
    share = book.execute(
        "",
        "round(100 * float((w.replay().hits - w.replay().foreseen).sum()) / w.replay().n_requests)",
    )
    eventually(lambda: shown(), f"{share} %")
    book.screenshot("cache_replay_light")


def test_a_page_without_a_kernel_still_replays(static_page: Callable, picture: Callable) -> None:
    texts = {f"text {seed}": drawn(120, 4, 16, 2, skew=0.8, seed=seed) for seed in range(2)}
    guesses = {name: [as_before(trace, d) for d in (1, 2, 3)] for name, trace in texts.items()}
    replay = CacheReplay.of(texts, texts, 49_152, guesses, distance=1, token=9)
    page = static_page(replay.html(), theme="dark")
    widget = page.locator(".moe-cache-replay")
    assert widget.locator("path.hits").count() == 2  # in the picture, and in its key
    picture(widget, "cache_replay_static_dark")

    widget.get_by_role("slider", name="memory for experts").fill("64")
    assert "0 %" in widget.locator("dd").nth(2).inner_text() or "3 %" in widget.inner_text()
    widget.get_by_role("combobox", name="trace").select_option("text 1")
    assert (
        widget.get_by_role("button", name="LRU", exact=True).get_attribute("aria-pressed") == "true"
    )
    widget.locator("svg.grid").click(position={"x": 300, "y": 100})
    assert "Token 9," not in widget.locator(".status").inner_text()
