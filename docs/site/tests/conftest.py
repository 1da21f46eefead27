"""The built site, served on this machine; every page fails its test if it asks anything else.

`visit("notebooks/03_router.html", theme="dark", width=390)` opens a page whose widgets are alive.
"""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from moe_teach.lab_check.server import launch_chromium

SITE = Path(__file__).parents[1]
HTML = SITE.parents[1] / "build/site/html"
HEIGHT = 1100


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and keeps no diary."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    assert HTML.is_dir(), "There is no site to test yet: type `make site`."
    handler = functools.partial(QuietHandler, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def keep_out(route: Route) -> None:
        complaints.append(f"asked for {route.request.url}")
        route.abort()

    def open_page(path: str, *, theme: str = "light", width: int = 1440, system: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme=system or theme,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.route(lambda url: not url.startswith((address, "blob:", "data:")), keep_out)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        # The blank page before ours has no storage.
        chosen = f"localStorage.setItem('theme', '{theme}')"
        context.add_init_script(f"if (location.protocol === 'http:') {chosen}")
        page = context.new_page()
        page.goto(address + path)
        page.wait_for_function(
            "() => [...document.querySelectorAll('.moe-twin')]"
            ".every(twin => twin.dataset.moeAlive === 'yes')"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
