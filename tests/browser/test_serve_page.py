"""The page of a served model, in a real browser: type, watch who works, ask one token."""

import json
from collections.abc import Callable, Iterator

import jaxtyping
import pytest
from playwright.sync_api import Browser, Page

from moe_teach.nn.model import Model
from tests.deploy.server.live import Live, running, tiny_model

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    jaxtyping.config.update("jaxtyping_disable", True)
    yield tiny_model()
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def open_server(model: Model) -> Iterator[Live]:
    with running(model) as live:
        yield live


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    contexts, asked, complaints = [], [], []

    def go(live: Live, theme: str = "light") -> Page:
        context = browser.new_context(color_scheme=theme, viewport={"width": 1000, "height": 900})
        contexts.append(context)
        context.on("request", lambda request: asked.append((live.url, request.url)))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page = context.new_page()
        page.goto(live.url)
        page.get_by_text("layers of 4 experts").or_(page.get_by_role("alert")).first.wait_for()
        return page

    yield go
    for context in contexts:
        context.close()
    assert [url for home, url in asked if not url.startswith((home, "data:"))] == []
    # The browser itself complains of every status that is not 200.
    assert [one for one in complaints if "Failed to load resource" not in one] == []


def ask(page: Page, prompt: str, count: int) -> None:
    page.get_by_label("How the text begins").fill(prompt)
    page.get_by_label("Tokens to add").fill(str(count))
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Go on", disabled=False).wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_token_shows_who_worked_and_tells_more_when_asked(
    theme: str, visit: Callable, open_server: Live, picture: Callable
) -> None:
    answer = open_server.client().completions.create(
        model="tiny", prompt="abc", max_tokens=12, temperature=0, extra_body={"moe_trace": True}
    )
    trace = answer.moe["trace"]
    page = visit(open_server, theme)

    ask(page, "abc", 12)
    tokens = page.locator(".token")
    tokens.nth(3).click()

    assert tokens.count() == len(trace) == 12
    who = [one.inner_text() for one in page.locator(".token .who").all()]
    assert who == ["·".join(map(str, one["experts"][0])) for one in trace]
    hues = [one.get_attribute("class") for one in tokens.all()]
    assert hues == [f"token hue-{one['experts'][0][0]}" for one in trace]
    bars = page.locator("#token .bars > span:nth-child(3n)")
    gates = [gate for layer in trace[3]["gates"] for gate in layer]
    assert [float(one.inner_text()) for one in bars.all()] == pytest.approx(gates, abs=6e-4)
    picture(page.locator("body"), f"serve_page_{theme}")


def test_another_layer_is_chosen_and_its_experts_are_shown(
    visit: Callable, open_server: Live
) -> None:
    page = visit(open_server)
    ask(page, "abc", 6)
    before = page.locator("#tokens").inner_text()

    page.get_by_label("Colours and numbers").select_option("1")

    assert page.locator("#tokens").inner_text() != before
    assert "in layer 1" in page.locator(".token").first.get_attribute("aria-label")


def test_everything_can_be_done_with_the_keyboard(visit: Callable, open_server: Live) -> None:
    page = visit(open_server)
    page.get_by_label("How the text begins").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("abc")
    for _ in range(4):  # past the numbers, to the button
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("tokens, as many as were asked for").wait_for()
    for _ in range(2):  # past the button and the layers; a stopped answer needs no stop
        page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)

    chosen = page.locator('.token[aria-pressed="true"]')
    assert chosen.get_attribute("data-place") == "1"
    assert chosen.evaluate("one => one === document.activeElement")
    assert page.locator("#token").inner_text().count("expert") >= 4
    page.keyboard.press("End")
    assert chosen.get_attribute("data-place") == "39"


def test_a_refusal_is_shown_in_the_servers_words(visit: Callable, open_server: Live) -> None:
    page = visit(open_server)

    ask(page, "x" * 200, 5)

    assert "reads at most 128" in page.get_by_role("alert").inner_text()


def test_a_locked_server_asks_for_its_key(visit: Callable, model: Model) -> None:
    with running(model, api_key="open sesame") as locked:
        page = visit(locked)
        assert "key is missing" in page.get_by_role("alert").inner_text()
        page.get_by_label("Key of this server").fill("open sesame")

        ask(page, "abc", 3)

        assert page.locator(".token").count() == 3


def test_a_text_that_looks_like_markup_is_text(visit: Callable, open_server: Live) -> None:
    page = visit(open_server)
    evil = '<img src=x onerror="document.title=1">'
    token = {"token_id": 1, "token": evil, "experts": [[1], [1]], "gates": [[1], [1]]}
    event = {"choices": [{"finish_reason": "length"}], "moe": {"version": 0, "trace": [token]}}
    body = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n"

    page.route(
        "**/v1/completions",
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )
    ask(page, "abc", 1)

    assert page.locator(".token .text").inner_text() == evil
    assert page.title() == "Which experts worked?"
