"""The page of an audit as its readers meet it: a file, opened in a browser without a network."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SECTIONS = [
    "Who worked on what",
    "How sure they were",
    "Without the busiest expert",
    "What its neighbours could have changed",
    "What this page cannot tell",
]
TEXT = "".join(f"{a} + {b} = {a + b}\n" for a in range(30) for b in range(4))
FAINTEST = 4.5  # of small words on their ground: WCAG 2.2, 1.4.3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that the verb writes, and the same once more, where sets have another order."""
    home = tmp_path_factory.mktemp("audited")
    (home / "sums.txt").write_text(TEXT)
    for seed in ("1", "2"):
        words = ("audit", "shipped", "--text", "sums.txt", "--to", f"{seed}.html")
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        subprocess.run(
            [sys.executable, "-m", "moe_teach.cli", *words], cwd=home, env=environment, check=True
        )
    return home / "1.html"


def test_two_processes_write_the_same_bytes(written: Path) -> None:
    assert written.read_bytes() == written.with_name("2.html").read_bytes()


@pytest.fixture
def opened(browser: Browser, written: Path):
    contexts, asked, complaints = [], [], []

    def go(theme: str, width: int) -> Page:
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": 900}
        )
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda message: complaints.append(message.text))
        page = context.new_page()
        page.goto(written.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert asked == [written.as_uri()] * len(contexts)
    assert complaints == []


@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_of_it_is_seen_and_named(
    theme: str, width: int, opened: Callable, picture: Callable
) -> None:
    page = opened(theme, width)

    assert page.title() == "Audit of shipped"
    assert page.locator("h1").inner_text() == "Audit of shipped"
    assert [one.inner_text() for one in page.locator("h2").all()] == SECTIONS
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(one => +one.tagName[1])")
    assert all(later - sooner <= 1 for sooner, later in pairwise(levels))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    names = page.locator("svg").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(names) == len(set(names)) == 4 + 3  # a load for each layer, and three more
    for figure in page.locator("figure:visible").all():
        box = figure.get_by_role("img").bounding_box()
        assert box is not None
        assert box["width"] > 250
        assert box["height"] > 50
    assert page.locator("figure:visible").count() == 4
    page.get_by_text("What each expert takes more than its share of").first.click()
    tables = page.locator("table:visible")
    assert tables.count() == 4
    for table in tables.all():
        assert table.locator("th[scope=col]").count() >= 3
        assert table.locator("tbody tr").count() >= 4
    assert [one for one in page.evaluate(CONTRASTS) if one[1] < FAINTEST] == []
    picture(page.locator("body"), f"audit_page_{theme}_{width}")


def test_a_layer_is_chosen_with_the_keyboard_and_on_paper_all_are_there(opened: Callable) -> None:
    page = opened("light", 1100)
    assert [one.is_visible() for one in page.locator(".panel").all()] == [True, False, False, False]

    page.get_by_role("radio", name="layer 0").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")

    assert [one.is_visible() for one in page.locator(".panel").all()] == [False, False, True, False]
    page.emulate_media(media="print")
    assert all(one.is_visible() for one in page.locator(".panel").all())


# Every visible piece of text with its contrast to the nearest ground that is painted under it.
CONTRASTS = """() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return brush.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => {
    const [r, g, b] = [...rgba(colour)].slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "white";
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility()
      && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((one) => {
      const style = getComputedStyle(one);
      const ink = one.namespaceURI.endsWith("svg") ? style.fill : style.color;
      const [a, b] = [light(ink), light(ground(one))].sort((x, y) => y - x);
      return [one.textContent.slice(0, 40), (a + 0.05) / (b + 0.05)];
    });
}"""
