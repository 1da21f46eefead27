"""The route explorer as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator

from moe_teach.widgets.route_explorer import RouteExplorer

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.route_explorer import RouteExplorer\nw = RouteExplorer()"
PAIR = {"text": "the nurse", "second": "the doctor"}


def test_text_layer_expert_and_knock_out_move_on_both_sides(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-route-explorer")

    widget.get_by_role("combobox", name="text", exact=True).select_option("the nurse")
    eventually(lambda: book.execute("", "w.text"), "the nurse")
    widget.get_by_role("combobox", name="beside it").select_option("the doctor")
    eventually(lambda: book.execute("", "w.second"), "the doctor")
    layer = widget.get_by_role("slider", name="layer")
    layer.focus()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.layer"), 1)
    widget.locator(".token").first.click()
    book.page.keyboard.press("ArrowRight")
    eventually(lambda: book.execute("", "w.token"), 1)
    widget.locator(".status").get_by_text("“nurse”, token 1, layer 1").wait_for()
    widget.locator(".disc").nth(2).click()
    book.page.keyboard.press("ArrowDown")
    eventually(lambda: book.execute("", "w.expert"), 3)
    widget.get_by_role("button", name="knock out expert 3").click()
    eventually(lambda: book.execute("", "w.knocked"), True)
    widget.get_by_role("button", name="untrained router").click()
    eventually(lambda: book.execute("", "w.view"), "untrained")

    book.execute("w.text = 'sums'; w.expert = -1; w.layer = 3; w.view = 'trained'")
    widget.get_by_role("group", name="text: sums").wait_for()
    eventually(lambda: widget.locator(".paths").is_visible(), False)
    book.screenshot("route_explorer_light")


def test_a_page_without_a_kernel_still_explores(static_page: Callable, picture: Callable) -> None:
    page = static_page(RouteExplorer(**PAIR, layer=2, token=3).html(), theme="dark")
    widget = page.locator(".moe-route-explorer")
    picture(widget, "route_explorer_pair_dark")

    assert not widget.locator(".bits").is_visible(), "the bits are to be guessed first"
    widget.get_by_role("button", name="measure").click()
    assert widget.locator(".bits").is_visible()
    page.keyboard.press("Enter")
    assert not widget.locator(".bits").is_visible()

    widget.locator(".second .token").nth(5).click()
    assert "token 5, layer 2" in widget.locator(".status").inner_text()
    box = widget.locator(".paths").bounding_box()
    widget.locator(".paths").click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.3})
    assert "layer 0" in widget.locator(".status").inner_text()

    widget.get_by_role("combobox", name="text", exact=True).select_option("code")
    assert not widget.locator(".paths").is_visible()
    assert not widget.get_by_role("combobox", name="beside it").is_enabled()
    picture(widget, "route_explorer_code_dark")


@pytest.mark.parametrize("width", [480, 1100])
def test_words_have_room_at_every_layer(
    width: int, static_page: Callable, picture: Callable
) -> None:
    explorer = RouteExplorer(**PAIR, expert=1, knocked=True, measured=True, token=6)
    page = static_page(explorer.html(), viewport={"width": width, "height": 1300})
    widget = page.locator(".moe-route-explorer")

    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for layer in range(4):
        widget.get_by_role("slider", name="layer").fill(str(layer))
        assert overlapping(widget.locator(".paths text")) == []
        for kind in (".token", ".cell", ".head:not(:empty)"):
            assert overlapping(widget.locator(kind)) == []
    picture(widget, f"route_explorer_{width}")


def overlapping(parts: Locator) -> list[str]:
    """Name the pairs of elements that cover each other by more than a pixel."""
    return parts.evaluate_all("""all => all.flatMap((one, i) => all.slice(i + 1).filter(other => {
      const [a, b] = [one, other].map(each => each.getBoundingClientRect());
      return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    }).map(other => `${one.textContent} | ${other.textContent}`))""")
