"""The built pages, read as files: links, anchors, weight, and nothing that lies elsewhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

HTML = Path(__file__).parents[3] / "build/site/html"
MOST_BYTES = 2_000_000  # of a page itself; what pages share is fetched once
LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


@dataclass
class Seen(HTMLParser):
    """What a page links to, what it loads, and where others may point into it."""

    links: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)
    silent: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        said = {name: value or "" for name, value in attributes}
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.add(said["href"])
        if tag in LOADED and LOADED[tag] in said and said.get("rel") not in ("index", "search"):
            self.loaded.add(said[LOADED[tag]])
        self.silent += tag == "img" and "alt" not in said


@pytest.fixture(scope="module")
def pages() -> dict[Path, Seen]:
    found = {}
    for path in sorted(HTML.rglob("*.html")):
        found[path] = Seen()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_every_link_leads_to_a_page_and_every_anchor_is_there(pages: dict[Path, Seen]) -> None:
    def broken() -> Iterator[str]:
        for path, seen in pages.items():
            for link in seen.links:
                target, anchor = urldefrag(link)
                if urlparse(link).scheme:
                    continue
                file = (path.parent / unquote(target)).resolve() if target else path
                if not file.is_file():
                    yield f"{path.relative_to(HTML)} links to {link}, which is no file"
                elif anchor and file in pages and unquote(anchor) not in pages[file].anchors:
                    yield f"{path.relative_to(HTML)} links to {link}, where that anchor is not"

    assert len(pages) > 60
    assert list(broken()) == []


def test_a_page_loads_nothing_from_elsewhere(pages: dict[Path, Seen]) -> None:
    foreign = {
        f"{path.relative_to(HTML)}: {url}"
        for path, seen in pages.items()
        for url in seen.loaded
        if url.startswith(("http:", "https:", "//"))
    }

    assert foreign == set()


def test_what_a_page_loads_is_there(pages: dict[Path, Seen]) -> None:
    missing = {
        f"{path.relative_to(HTML)}: {url}"
        for path, seen in pages.items()
        for url in seen.loaded
        if not urlparse(url).scheme
        and not (path.parent / unquote(urlparse(url).path)).resolve().is_file()
    }

    assert missing == set()


def test_no_picture_is_without_words(pages: dict[Path, Seen]) -> None:
    assert {str(path) for path, seen in pages.items() if seen.silent} == set()


def test_no_page_weighs_more_than_a_slow_line_carries(pages: dict[Path, Seen]) -> None:
    def weight(path: Path, seen: Seen) -> int:
        figures = {url for url in seen.loaded if "/figures/" in url}
        own = sum((path.parent / url).resolve().stat().st_size for url in figures)
        return path.stat().st_size + own

    lessons = {path: seen for path, seen in pages.items() if path.parent.name != "_modules"}
    heavy = {p.name: weight(p, s) for p, s in lessons.items() if weight(p, s) > MOST_BYTES}
    assert heavy == {}


def test_every_signature_of_the_reference_was_taken_apart() -> None:
    signature = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
    left_over = {
        path.name: found[0][:200]
        for path in (HTML / "reference").glob("*.html")
        for found in signature.finditer(path.read_text(encoding="utf-8"))
        if "~" in found[0] or "&lt;" in found[0]
    }

    assert left_over == {}


def test_formulas_are_set_already(pages: dict[Path, Seen]) -> None:
    lesson = (HTML / "notebooks/04_dispatch.html").read_text(encoding="utf-8")

    assert lesson.count('class="katex"') > 10
