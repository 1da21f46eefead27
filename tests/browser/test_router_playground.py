"""The router playground as its readers meet it: in JupyterLab, and on a page without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.router_playground import RouterPlayground

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.router_playground import RouterPlayground\nw = RouterPlayground()"
SHADES = """() => {
  const canvas = document.querySelector(".moe-router-playground canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 3).join());
  return seen.size;
}"""


def test_mouse_keys_sliders_and_python_move_the_same_picture(
    notebook: Callable, eventually: Callable, drag: Callable
) -> None:
    book = notebook(SETUP, "w", theme="dark")
    token = book.page.get_by_role("slider", name="token")
    start = book.execute("", "w.token")

    drag(book.page, token.locator(".diamond"), by=(-60, 0))
    eventually(lambda: book.execute("", f"w.token[0] < {start[0] - 0.3}"), True)

    x, y = book.execute("", "w.token")
    token.focus()
    book.page.keyboard.press("ArrowUp")
    eventually(lambda: book.execute("", "w.token"), [x, round(y + 0.05, 3)])

    book.page.get_by_role("slider", name="bias of expert 2").fill("0.4")
    eventually(lambda: book.execute("", "w.expert_bias[2]"), 0.4)

    book.page.get_by_role("radio").nth(1).focus()
    book.page.keyboard.press("ArrowDown")
    eventually(lambda: book.execute("", "w.topk_first"), True)

    book.execute("w.top_k = 1")
    book.page.locator(".slope.dead").first.wait_for()
    book.screenshot("router_playground_dark")


def test_a_page_without_a_kernel_still_routes(static_page: Callable, picture: Callable) -> None:
    page = static_page(RouterPlayground(top_k=1).html())
    before = page.locator(".status").inner_text()

    page.get_by_role("slider", name="token").focus()
    for _ in range(10):
        page.keyboard.press("Shift+ArrowLeft")

    page.wait_for_function(
        "before => document.querySelector('.status').innerText !== before", arg=before
    )
    assert page.evaluate(SHADES) >= 6, "five experts' colours and the borders between them"
    picture(page.locator(".moe-router-playground"), "router_playground_static")
