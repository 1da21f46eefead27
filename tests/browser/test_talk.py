"""A talk in the browser that shows it: keys, the answer after the vote, both themes, no network."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from moe_teach.course.teaching.deck import deck_of

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


def test_a_talk_is_led_by_keys_and_needs_no_network(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "talk.html"
    file.write_text(deck_of(ROOT, 3), encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(file.as_uri())
    count = page.locator("section").count()
    where = page.get_by_role("status")

    def is_at(number: int) -> bool:
        return where.inner_text() == f"{number} of {count}"

    assert is_at(1)
    assert page.locator("section:visible").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("a")
    assert page.locator("section:visible details[open]").count() == 1
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert is_at(1)
    page.keyboard.press("End")
    assert is_at(count)
    page.reload()
    assert is_at(count), "the address holds the place"
    ground = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.keyboard.press("d")
    assert page.evaluate(ground) != before
    page.emulate_media(media="print")
    assert page.locator("section:visible").count() == count
    assert page.locator("details:visible").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()
