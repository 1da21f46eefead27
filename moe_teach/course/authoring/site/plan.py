"""What stands in the site and in which order: chapters, their pages, the parts of the course."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# A part begins with a chapter; a chapter to come finds its place by its number.
PARTS = (
    (0, "Foundations"),
    (5, "Models"),
    (9, "Kernels"),
    (11, "Inside a trained model"),
    (14, "Out of the notebook"),
)
_MINUTES = re.compile(r"· about (\d+) minutes")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Page:
    """A stored notebook as a page: `shelf` is notebooks or exercises, `stem` the file's name."""

    shelf: str
    stem: str
    cells: tuple[dict[str, Any], ...]

    @property
    def file(self) -> str:
        """The path under the root, and under the site's source."""
        return f"{self.shelf}/{self.stem}.ipynb"

    @property
    def chapter(self) -> int:
        """The chapter's number."""
        return int(self.stem[:2])

    @cached_property
    def title(self) -> str:
        """The heading of the first cell, without its mark."""
        return text_of(self.cells[0]).partition("\n")[0].removeprefix("#").strip()

    @property
    def short_title(self) -> str:
        """The title without the number, as the chapter map shows it."""
        return re.sub(r"^\d\d[b-z]?\s+", "", self.title)

    @cached_property
    def n_words(self) -> int:
        """How many words of text there are to read, code not counted."""
        texts = [text_of(cell) for cell in self.cells if cell["cell_type"] == "markdown"]
        return sum(len(_WORD.findall(text)) for text in texts)

    @cached_property
    def minutes(self) -> list[int]:
        """What each exercise of the page is said to take."""
        return [int(found) for cell in self.cells for found in _MINUTES.findall(text_of(cell))]


@dataclass(frozen=True)
class Chapter:
    """One number of the course: its lessons in order, and its exercises where it has them."""

    number: int
    lessons: tuple[Page, ...]
    exercises: Page | None

    @property
    def pages(self) -> Iterator[Page]:
        """All pages of the chapter, in reading order."""
        yield from self.lessons
        if self.exercises:
            yield self.exercises

    @property
    def part(self) -> str:
        """The part of the course that the chapter belongs to."""
        return next(name for first, name in reversed(PARTS) if first <= self.number)


def chapters(root: Path) -> list[Chapter]:
    """Read all stored lessons and exercises under `root`, chapter by chapter."""
    lessons = [read_page(path) for path in sorted((root / "notebooks").glob("*.ipynb"))]
    practice = [read_page(path) for path in sorted((root / "exercises").glob("*.ipynb"))]
    exercises = {page.chapter: page for page in practice}
    numbers = sorted({page.chapter for page in lessons})
    return [
        Chapter(n, tuple(p for p in lessons if p.chapter == n), exercises.get(n)) for n in numbers
    ]


def read_page(path: Path) -> Page:
    """Read one stored notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return Page(path.parent.name, path.stem, tuple(notebook["cells"]))


def text_of(part: dict[str, Any] | str | list[str]) -> str:
    """Give the source of a cell, or text that a notebook file may keep as a list of lines."""
    text = part["source"] if isinstance(part, dict) else part
    return text if isinstance(text, str) else "".join(text)


def chapters_by_part(all_chapters: list[Chapter]) -> dict[str, list[Chapter]]:
    """Gather the chapters under the parts of the course, in their order."""
    parts: dict[str, list[Chapter]] = {}
    for chapter in all_chapters:
        parts.setdefault(chapter.part, []).append(chapter)
    return parts
