"""The cost calculator as its readers meet it: in JupyterLab, and on a page without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.cost_calculator import CostCalculator

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.cost_calculator import CostCalculator\nw = CostCalculator()"


def test_keys_menu_curve_and_python_move_the_same_model(
    notebook: Callable, eventually: Callable, drag: Callable
) -> None:
    book = notebook(SETUP, "w")
    experts = book.page.locator('.moe-cost input[data-trait="n_experts"]')

    drag(book.page, book.page.locator(".moe-cost-chart circle"), by=(120, 0))
    eventually(lambda: book.execute("", "w.batch > 8"), True)

    experts.focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.n_experts"), 32)

    book.page.locator('.moe-cost select[data-trait="preset"]').select_option("DeepSeek-V3")
    eventually(lambda: book.execute("", "[w.preset, w.top_k]"), ["DeepSeek-V3", 8])
    assert book.page.locator(".moe-cost-chart circle").count() == 0  # two devices cannot hold it

    book.execute("w.preset = 'Mixtral 8x7B'")
    book.page.locator(".moe-cost-words").get_by_text("Mixtral 8x7B stores 46.7B").wait_for()
    assert experts.get_attribute("aria-valuetext") == "8"
    book.screenshot("cost_calculator_light")


def test_a_page_without_a_kernel_still_calculates(static_page: Callable, picture: Callable) -> None:
    page = static_page(CostCalculator("Mixtral 8x7B").html(), theme="dark")
    words = page.locator(".moe-cost-words")
    assert "12.9B of them" in words.inner_text()

    page.locator('input[data-trait="top_k"]').fill("0")  # the first stop: one expert for a token

    assert "12.9B of them" not in words.inner_text()
    picture(page.locator(".moe-cost"), "cost_calculator_static_dark")
