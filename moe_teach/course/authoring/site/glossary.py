"""The glossary: docs/terms.md, its tables as entries with an address, and where each is taught."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdit_py_plugins.anchors.index import slugify

from moe_teach.course.authoring.site.plan import Page, text_of

_TABLE = re.compile(r"^\|(?P<head>.*)\|\n\|[- |]+\|\n(?P<rows>(?:\|.*\|\n)+)", re.MULTILINE)
_CODE = re.compile(r"`([A-Za-z_][\w.]+)")
_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
TEXT_COUNTS = 3  # a word in the text is being explained; in a cell it is being used


@dataclass(frozen=True)
class Section:
    """A stretch of a page under one heading, its words in text and in code."""

    page: Page
    heading: str
    text: str
    code: str

    def weight(self, pattern: re.Pattern[str]) -> int:
        """How much of the section is about what the pattern finds."""
        return TEXT_COUNTS * len(pattern.findall(self.text)) + len(pattern.findall(self.code))


def glossary_page(terms: str, course: Sequence[Page]) -> str:
    """Turn the tables of the terms into glossaries; every other line stays as it is."""
    sections = [section for page in course for section in sections_of(page)]

    def entries(table: re.Match[str]) -> str:
        head = _cells(table["head"])
        rows = [_cells(line[1:-1]) for line in table["rows"].splitlines()]
        body = (_entry(head, row, sections) for row in rows)
        return "\n".join(["```{glossary}", *body, "```", ""])

    return _TABLE.sub(entries, terms)


def sections_of(page: Page) -> Iterator[Section]:
    """Cut a page at its headings; what stands before the first belongs to the title."""
    heading, texts, codes = page.title, [""], [""]
    for cell in page.cells[:-1]:
        if cell["cell_type"] == "code":
            codes.append(text_of(cell))
            continue
        before, *rest = _HEADING.split(text_of(cell))
        texts.append(before)
        for title, text in zip(rest[::2], rest[1::2], strict=True):
            yield Section(page, heading, "\n".join(texts), "\n".join(codes))
            heading, texts, codes = title, [text], [""]
    yield Section(page, heading, "\n".join(texts), "\n".join(codes))


def taught_in(
    term: str, names: Sequence[str], sections: Sequence[Section]
) -> list[tuple[str, Section]]:
    """Say where a term, or one of its names in the code, is met first and used most."""
    words = [f"(?i:{re.escape(term)})", *map(re.escape, names)]
    pattern = re.compile(rf"\b(?:{'|'.join(words)})\b")
    met = [(weight, section) for section in sections if (weight := section.weight(pattern))]
    if not met:
        return []
    first, most = met[0][1], max(met, key=lambda pair: pair[0])[1]
    return (
        [("taught in", most)]
        if first == most
        else [("met first in", first), ("used most in", most)]
    )


def _entry(head: Sequence[str], row: Sequence[str], sections: Sequence[Section]) -> str:
    """Write a term, what the other columns say about it, and the way to its lessons."""
    term, *rest = row
    said = [f"**{name}**: {words}" for name, words in zip(head[1:], rest, strict=True) if words]
    names = _CODE.findall(rest[0]) if "moe_teach" in head else []
    plain = term.replace("`", "")
    places = [f"{how} {_link(section)}" for how, section in taught_in(plain, names, sections)]
    if places:
        said.append(f"*{'; '.join(places)}*")
    # Each on a line of its own: a backslash ends a line in Markdown.
    return f"{plain}\n  " + " \\\n  ".join(said) + "\n"


def _link(section: Section) -> str:
    page, title = section.page, section.page.title
    if section.heading == title:
        return f"[{title}](../{page.file})"
    plain = section.heading.replace("`", "").replace("*", "").replace("[", "").replace("]", "")
    return f"[{title}: {plain}](../{page.file}#{slugify(section.heading)})"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]
