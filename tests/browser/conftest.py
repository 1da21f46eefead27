"""Fixtures for tests in a real browser. Mark such tests with `@pytest.mark.browser`.

`notebook(*cells, theme="light")`
    A scratch notebook in a real JupyterLab, all cells already run; a `LabNotebook`:
        book = notebook("from moe_teach.widgets.x import X; w = X()", "w")
        book.page.locator(".moe-x")          the live widget, as a Playwright locator
        book.execute("w.top_k = 3")          Python acts; the widget must follow
        book.execute("", "w.top_k")          a Python-side value (any expression JSON can carry)
        book.screenshot("x_light")           a picture under build/screenshots
    With `stored=bundle` nothing runs: the bundle is what the file holds under its last cell, in a
    notebook that nobody has trusted yet.
`static_page(widget.html(), theme="dark")`
    The same widget as a bare file with the network off; a Playwright page, already alive. When the
    test ends it fails if anything was asked of the network or an error was logged.
`eventually(function, expected)`
    Waits until `function()` gives `expected`; for what crosses from the browser to the kernel.
`drag(page, start, by=(dx, dy))`, `drag(page, start, to=locator)`
    Presses on the middle of the locator `start`, moves in small steps, lets go.
`picture(locator, name)`
    A screenshot of one element under build/screenshots.

Keys: `locator.focus(); page.keyboard.press("ArrowRight")`. Sliders: `locator.fill("3")`.
One JupyterLab and one Chromium serve all browser tests.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from moe_teach.lab_check.notebook import SCREENSHOTS, LabNotebook
from moe_teach.lab_check.server import (
    Lab,
    LabCheckError,
    find_chromium,
    launch_chromium,
    running_jupyterlab,
)

WIDTH, HEIGHT = 1100, 1300


@pytest.fixture(scope="module")  # its event loop would be in the way of others in this process
def browser() -> Iterator[Browser]:
    try:
        find_chromium()
    except LabCheckError as missing:
        pytest.fail(str(missing), pytrace=False)
    with sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture
def notebook(browser: Browser, lab: Lab) -> Iterator[Callable[..., LabNotebook]]:
    contexts: list[BrowserContext] = []
    opened: list[LabNotebook] = []

    def open_notebook(
        *cells: str, theme: str = "light", stored: dict[str, Any] | None = None
    ) -> LabNotebook:
        name = f"scratch_{next(_numbers)}.ipynb"
        (lab.folder / name).write_text(json.dumps(notebook_of(cells, stored)))
        contexts.append(browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}))
        book = LabNotebook(contexts[-1].new_page(), lab, name)
        opened.append(book)
        set_theme(book.page, theme)
        book.page.evaluate(
            "() => window.jupyterapp.commands.execute('application:toggle-left-area')"
        )
        if stored is None:
            book.run_all()
        return book

    yield open_notebook
    for book in opened:
        book.page.evaluate("() => window.moeNotebook.sessionContext.shutdown()")
    for context in contexts:
        context.close()


_numbers = itertools.count()


def notebook_of(cells: tuple[str, ...], stored: dict[str, Any] | None) -> dict[str, Any]:
    """Write a notebook; `stored` is a display bundle saved under its last cell."""
    blank = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    code: list[dict[str, Any]] = [
        blank | {"id": f"c{number}", "source": source} for number, source in enumerate(cells)
    ]
    if stored is not None:
        code[-1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": stored}]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def set_theme(page: Page, theme: str) -> None:
    """Choose JupyterLab's own light or dark theme."""
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
        f"JupyterLab {theme.title()}",
    )
    body = f'body[data-jp-theme-light="{json.dumps(theme == "light")}"]'
    page.wait_for_selector(body, state="attached")


@pytest.fixture
def static_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    contexts: list[BrowserContext] = []
    asked: list[str] = []
    complaints: list[str] = []

    def open_page(*pieces: str, theme: str = "light", alive: bool = True, **options: Any) -> Page:
        file = tmp_path / f"page_{len(contexts)}.html"
        file.write_text(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>'
            f"<body>{''.join(pieces)}</body></html>",
            encoding="utf-8",
        )
        viewport = {"width": WIDTH, "height": HEIGHT}
        context = browser.new_context(
            offline=True, color_scheme=theme, **({"viewport": viewport} | options)
        )
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page = context.new_page()
        page.goto(file.as_uri())
        if alive:
            page.wait_for_function(
                """count => document.querySelectorAll('[data-moe-alive="yes"]').length === count""",
                arg=len(pieces),
            )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith(("file:", "blob:"))]
    assert not complaints


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any], Any], None]:
    def wait(function: Callable[[], Any], expected: Any, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while (found := function()) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == expected

    return wait


@pytest.fixture
def drag() -> Callable[..., None]:
    def move(
        page: Page, start: Locator, *, by: tuple[float, float] = (0, 0), to: Locator | None = None
    ) -> None:
        start.scroll_into_view_if_needed()
        x, y = middle(start)
        end_x, end_y = middle(to) if to else (x + by[0], y + by[1])
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(end_x, end_y, steps=8)
        page.mouse.up()

    return move


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None, "the element is not to be seen"
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture
def picture() -> Callable[[Locator, str], None]:
    def take(locator: Locator, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        locator.screenshot(path=SCREENSHOTS / f"{name}.png")

    return take
