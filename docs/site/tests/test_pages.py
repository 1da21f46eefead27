"""The built pages as their readers meet them: in a real browser, with the network off."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

SITE = Path(__file__).parents[1]
HTML = SITE.parents[1] / "build/site/html"
pytestmark = pytest.mark.browser

EVERY = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
EVERY = [page for page in EVERY if not page.startswith("_modules/")]
WIDGETS = [page for page in EVERY if "data-moe-twin" in (HTML / page).read_text(encoding="utf-8")]
# One page of each kind, and those that had faults of a kind of their own. With MOE_TEACH_WHOLE=1 it
# is every page, as before the site is published.
SAMPLE = [
    *("index.html", "map.html", "docs/terms.html", "search.html", "genindex.html"),
    *("notebooks/03_router.html", "notebooks/06b_in_a_language_model.html"),
    *("notebooks/12_specialise_and_compose.html", "exercises/03_router.html"),
    *("reference/index.html", "reference/nn.html", "py-modindex.html", "docs/teaching.html"),
    *("results/README.html", "results/layer.html", "CHANGELOG.html"),
    "_modules/moe_teach/ops/dispatch.html",
]
WHOLE = os.environ.get("MOE_TEACH_WHOLE") == "1"
LOOKED_AT = sorted({*EVERY, *SAMPLE}) if WHOLE else SAMPLE
AXE = (SITE / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
LUMINANCE = """element => {
  const [r, g, b] = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g).map(Number);
  return (r + g + b) / 3;
}"""
# How tall the letters of a widget's drawings come out, in pixels; a widget may draw none.
LETTERS = """twin => [99, ...[...twin.querySelectorAll("svg text")].map(
  text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a
)]"""
# A mark inside a drawing may carry the ring in place of what has the focus.
STOP_IS_SEEN = """() => {
  const stop = document.activeElement;
  const { left, right, top, bottom } = stop.getBoundingClientRect();
  const ringed = getComputedStyle(stop).outlineStyle !== "none" || stop.matches("svg *");
  return ringed && left >= 0 && right <= innerWidth && bottom > 0 && top < innerHeight;
}"""


def faults(page: Page) -> list[str]:
    """Ask axe, and name what is serious: the rule, where, and what it says."""
    page.evaluate(AXE)
    found = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    return [
        f"{fault['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", LOOKED_AT)
def test_a_page_is_open_to_everybody(visit: Callable[..., Page], path: str, theme: str) -> None:
    assert faults(visit(path, theme=theme)) == []


@pytest.mark.parametrize("path", LOOKED_AT)
def test_a_page_fits_a_phone_and_is_open_to_everybody_there(
    visit: Callable[..., Page], path: str
) -> None:
    page = visit(path, width=390)

    # The theme lets the content scroll by itself, so the page alone would always seem to fit.
    for part in (page.locator("html"), page.locator(".main > .content")):
        assert part.evaluate("part => part.scrollWidth") <= 390
    assert faults(page) == []


@pytest.mark.parametrize("width", [1184, 1280, 1320, 1366, 1440])
def test_a_laptop_shows_a_line_of_code_whole(visit: Callable[..., Page], width: int) -> None:
    page = visit("notebooks/03_router.html", width=width)

    assert page.locator("html").evaluate("part => part.scrollWidth") <= width
    assert page.locator("article").evaluate("part => part.clientWidth") >= 765


@pytest.mark.parametrize("path", WIDGETS)
def test_a_phone_shows_letters_of_a_widget_that_can_be_read(
    visit: Callable[..., Page], path: str
) -> None:
    for twin in visit(path, width=390).locator(".moe-twin").all():
        assert min(twin.evaluate(LETTERS)) >= 8


@pytest.mark.parametrize("width", [390, 1280])
def test_every_stop_of_the_tab_key_is_to_be_seen(visit: Callable[..., Page], width: int) -> None:
    page = visit("notebooks/04_dispatch.html", width=width)
    stops = 0

    while True:
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement === document.body"):
            break
        stops += 1
        page.wait_for_function(STOP_IS_SEEN)
    assert stops > 40


def tab_to(page: Page, name: str) -> Locator:
    """Press Tab until the focus is on the button of that name."""
    for _ in range(120):
        page.keyboard.press("Tab")
        button = page.locator(f'button[aria-label="{name}"]:focus')
        if button.count():
            return button
    raise AssertionError(f"The Tab key never reaches {name!r}.")


@pytest.mark.parametrize("key", ["Enter", "Space"])
@pytest.mark.parametrize("width", [390, 1000])
@pytest.mark.parametrize(
    ("name", "drawer"),
    [
        ("Toggle site navigation sidebar", ".sidebar-drawer"),
        ("Toggle table of contents sidebar", ".toc-drawer"),
    ],
)
def test_a_key_opens_a_drawer_and_escape_closes_it(
    visit: Callable[..., Page], name: str, drawer: str, width: int, key: str
) -> None:
    page = visit("docs/teaching.html", width=width)
    is_inside = """drawer => { const { left, right } = drawer.getBoundingClientRect();
                               return left >= 0 && right <= innerWidth; }"""
    shown = page.locator(drawer).element_handle()

    tab_to(page, name).press(key)
    page.wait_for_function(is_inside, arg=shown)
    assert page.evaluate("drawer => drawer.contains(document.activeElement)", shown)
    page.keyboard.press("Tab")
    assert page.evaluate("drawer => drawer.contains(document.activeElement)", shown)
    page.keyboard.press("Escape")
    page.wait_for_function(f"drawer => !({is_inside})(drawer)", arg=shown)
    button = page.locator(f'button[aria-label="{name}"]:focus')
    assert button.get_attribute("aria-expanded") == "false"


def test_a_mouse_still_opens_and_closes_a_drawer(visit: Callable[..., Page]) -> None:
    page = visit("docs/teaching.html", width=390)
    drawer = page.locator(".sidebar-drawer")

    page.locator(".nav-overlay-icon").click()
    page.wait_for_function("drawer => drawer.offsetLeft === 0", arg=drawer.element_handle())
    page.locator(".sidebar-overlay").click(position={"x": 380, "y": 500})
    page.wait_for_function("drawer => drawer.offsetLeft < 0", arg=drawer.element_handle())


def test_a_key_unfolds_a_chapter_in_the_navigation(visit: Callable[..., Page]) -> None:
    page = visit("docs/teaching.html")
    inside = page.locator(".sidebar-tree a", has_text="Exercises").first
    arrow = tab_to(page, "Toggle navigation of 00 Start here")

    for key, is_open in (("Enter", True), ("Space", False), ("Space", True)):
        arrow.press(key)
        assert arrow.get_attribute("aria-expanded") == str(is_open).lower()
        assert inside.is_visible() == is_open
    assert faults(page) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_a_key_changes_the_theme(visit: Callable[..., Page], width: int) -> None:
    page = visit("docs/teaching.html", width=width)
    switch = tab_to(page, "Toggle Light / Dark / Auto color theme")
    themes = [page.locator("body").get_attribute("data-theme")]

    for key in ("Enter", "Space"):
        switch.press(key)
        themes.append(page.locator("body").get_attribute("data-theme"))
    assert len(set(themes)) == 3


def test_the_navigation_shows_where_the_reader_is(visit: Callable[..., Page]) -> None:
    page = visit("docs/teaching.html")

    here = page.locator(".sidebar-tree .current-page > .reference").bounding_box()
    assert here is not None
    assert here["y"] + here["height"] <= page.evaluate("() => innerHeight")


@pytest.mark.parametrize("path", WIDGETS)
def test_every_widget_answers_a_mouse_and_a_key(visit: Callable[..., Page], path: str) -> None:
    for twin in visit(path).locator(".moe-twin").all():
        slider = twin.locator('input[type="range"]:enabled, [role="slider"]').first
        button = twin.locator('button[aria-pressed="false"]:enabled')

        if slider.count():
            assert_changes(twin, lambda slider=slider: press_arrow(slider))
        else:
            assert_changes(twin, lambda button=button: button.first.press("Enter"))
        if button.count():
            assert_changes(twin, lambda button=button: button.first.click())
        else:
            assert_changes(twin, lambda slider=slider: click_far_side(slider))


def assert_changes(twin: Locator, act: Callable[[], None]) -> None:
    """Do something, and see the widget show something else than before."""
    before = twin.inner_html()
    act()
    twin.page.wait_for_function(
        "([twin, before]) => twin.innerHTML !== before", arg=[twin.element_handle(), before]
    )


def press_arrow(slider: Locator) -> None:
    at_end = slider.evaluate("s => Number(s.value ?? s.ariaValueNow) >= (s.max ?? s.ariaValueMax)")
    slider.focus()
    slider.press("ArrowLeft" if at_end else "ArrowRight")


def click_far_side(slider: Locator) -> None:
    box = slider.bounding_box()
    assert box is not None
    is_left = slider.evaluate("s => Number(s.value) < (Number(s.min) + Number(s.max)) / 2")
    x = box["width"] * (0.85 if is_left else 0.15)
    slider.click(position={"x": x, "y": box["height"] / 2})


def test_the_token_of_the_front_page_can_be_dragged(visit: Callable[..., Page]) -> None:
    page = visit("index.html")
    twin = page.locator(".moe-twin")
    token = twin.locator(".handle").last

    token.scroll_into_view_if_needed()
    box = token.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 120, y + 60, steps=6)
        page.mouse.up()

    assert_changes(twin.locator(".status"), drag)


@pytest.mark.parametrize("system", ["light", "dark"])
def test_page_and_widgets_follow_the_page_and_not_the_system(
    visit: Callable[..., Page], system: str
) -> None:
    other = {"light": "dark", "dark": "light"}[system]
    page = visit("notebooks/03_router.html", theme=other, system=system)
    grounds: list[Any] = [page.locator(".moe-widget").first, page.locator("body")]

    assert {ground.evaluate(LUMINANCE) > 128 for ground in grounds} == {other == "light"}
    for _ in range(3):  # the theme goes round: light, dark, as the system
        page.locator(".theme-toggle:visible").first.click()
        said = page.locator("body").get_attribute("data-theme")
        is_light = (system if said == "auto" else said) == "light"
        assert {ground.evaluate(LUMINANCE) > 128 for ground in grounds} == {is_light}


def test_the_discs_of_the_playground_are_to_be_seen(visit: Callable[..., Page]) -> None:
    page = visit("notebooks/03_router.html")

    assert (
        page.locator(".moe-router-playground .expert:not(.head) > :first-child:visible").count()
        == 5
    )


def test_the_search_finds_a_word_of_a_lesson(visit: Callable[..., Page]) -> None:
    page = visit("search.html?q=capacity")

    page.locator("#search-results li a", has_text=re.compile("Dispatch")).first.wait_for()
    assert faults(page) == []


def test_one_page_leads_to_the_next(visit: Callable[..., Page]) -> None:
    page = visit("notebooks/03_router.html")

    page.locator("a.next-page").click()
    page.wait_for_url("**/exercises/03_router.html")
    page.locator("a.next-page").click()
    page.wait_for_url("**/notebooks/04_dispatch.html")
