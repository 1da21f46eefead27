"""The tile map as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.tile_map import TileMap

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.tile_map import TileMap\nw = TileMap()"


def test_blocks_orders_and_programs_move_on_both_sides(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-tile-map")

    widget.get_by_role("slider", name="rows of a tile").fill("5")
    eventually(lambda: book.execute("", "w.block_rows"), 32)
    assert widget.locator(".tile").count() == 5 * 4

    widget.get_by_role("combobox", name="order of the programs").select_option("down the rows")
    eventually(lambda: book.execute("", "w.order"), "down the rows")

    widget.get_by_role("slider", name="look at program").focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.program"), 1)
    widget.locator(".status").get_by_text("Program 1 of 20: expert 1").wait_for()
    assert widget.locator(".tile.together").count() == 8

    book.execute("w.skew = 100")
    widget.locator(".status").get_by_text("Program 1 of 12: expert 0").wait_for()
    book.execute("w.skew = 0; w.block_rows = 8")
    widget.locator(".status").get_by_text("of 60").wait_for()
    book.screenshot("tile_map_light")


def test_a_page_without_a_kernel_still_cuts(static_page: Callable, picture: Callable) -> None:
    page = static_page(TileMap(block_rows=16, program=5).html(), theme="dark")
    widget = page.locator(".moe-tile-map")
    assert widget.locator(".padding").count() > 0
    picture(widget, "tile_map_static_dark")

    page.get_by_role("slider", name="rows of a tile").fill("0")
    widget.locator(".tile").nth(3).click()

    assert widget.locator(".padding").count() == 0
    assert "no padding" in widget.locator(".status").inner_text()
