"""The expert shelf as its readers meet it: in JupyterLab, and without a kernel."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.expert_shelf import ExpertShelf

pytestmark = pytest.mark.browser

SETUP = "from moe_teach.widgets.expert_shelf import ExpertShelf\nw = ExpertShelf()"
START = ["general", "code", "languages", "sums"]
WITH = ["general", "code", "languages", "remainders"]


def test_mouse_keys_and_python_fill_the_same_slots(
    notebook: Callable, eventually: Callable, drag: Callable
) -> None:
    book = notebook(SETUP, "w")
    widget = book.page.locator(".moe-expert-shelf")
    module = widget.locator(".module", has_text="remainders")
    slot = widget.locator(".slot").nth(3)

    drag(book.page, module, to=slot)
    eventually(lambda: book.execute("", "w.contents"), WITH)
    eventually(lambda: book.execute("", "w.held"), "")
    widget.locator(".status").get_by_text("With remainders in slot 3").wait_for()
    widget.get_by_role("button", name="roll back").click()
    eventually(lambda: book.execute("", "w.rolled"), WITH)
    eventually(lambda: book.execute("", "w.contents"), START)
    widget.locator(".status").get_by_text("to the last digit").wait_for()

    widget.locator(".module").first.focus()
    book.page.keyboard.press("ArrowDown")
    book.page.keyboard.press("Enter")
    eventually(lambda: book.execute("", "w.held"), "code")
    slot.focus()
    book.page.keyboard.press("Enter")
    eventually(lambda: book.execute("", "w.contents"), [*START[:3], "code"])
    book.page.keyboard.press("Delete")
    eventually(lambda: book.execute("", "w.contents"), START)

    drag(book.page, widget.locator(".module", has_text="stranger"), to=slot)
    eventually(lambda: book.execute("", "w.tried"), ["stranger", "slot 3"])
    widget.locator(".status.refused").get_by_text("trunk e09b").wait_for()

    book.execute("w.install('remainders', 'slot 2')")
    widget.locator(".slot.changed").get_by_text("remainders", exact=True).wait_for()
    book.screenshot("expert_shelf_light")


def test_a_page_without_a_kernel_still_installs(static_page: Callable, picture: Callable) -> None:
    page = static_page(ExpertShelf().html(), theme="dark")
    widget = page.locator(".moe-expert-shelf")
    slots, modules = widget.locator(".slot"), widget.locator(".module")
    said = widget.locator(".status").inner_text

    modules.filter(has_text="remainders").click()
    hints = widget.locator(".hint").all_inner_texts()
    assert hints[0] == "does not fit" and hints[3] == "put it here: measured"
    slots.nth(3).click()
    assert said().startswith("With remainders in slot 3")
    picture(widget, "expert_shelf_static_dark")
    out = widget.get_by_role("button", name="take out")
    modules.nth(2).click()
    assert not out.is_visible(), "a slot that makes an offer has no room for it"
    page.keyboard.press("Escape")
    out.click()
    assert said().startswith("The model as it was")

    modules.first.click()
    slots.nth(1).click()
    assert "not measured" in said()
    assert widget.locator(".unknown").count() == 4
    widget.get_by_role("button", name="roll back").click()

    modules.filter(has_text="stranger").click()
    page.keyboard.press("Escape")
    assert widget.locator(".module[aria-pressed=true]").count() == 0
    widget.get_by_role("checkbox").check()
    modules.filter(has_text="stranger").click()
    slots.nth(3).click()
    assert "sums (+" in said() and said().endswith("lose.")
    widget.get_by_role("checkbox").uncheck()
    assert said().startswith("The model as it was")


def test_it_fits_a_narrow_page(static_page: Callable, picture: Callable) -> None:
    shelf = ExpertShelf(contents=WITH)
    page = static_page(shelf.html(), viewport={"width": 480, "height": 1300})

    assert page.evaluate("() => document.documentElement.scrollWidth") <= 480
    picture(page.locator(".moe-expert-shelf"), "expert_shelf_narrow")
