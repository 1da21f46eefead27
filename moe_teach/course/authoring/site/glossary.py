"""The glossary: docs/terms.md, its tables as entries with an address, and where each is taught."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mdit_py_plugins.anchors.index import slugify

from moe_teach.course.authoring.site.plan import Page, text_of

_TABLE = re.compile(r"^\|(?P<head>.*)\|\n\|[- |]+\|\n(?P<rows>(?:\|.*\|\n)+)", re.MULTILINE)
_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
# By lesson and term: the heading of the section that explains it, and a word that it uses there.
Taught = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Section:
    """A stretch of a page under one heading, with all that stands there."""

    page: Page
    heading: str
    words: str


def glossary_page(terms: str, course: Sequence[Page], taught: Taught) -> str:
    """Turn the tables of the terms into glossaries; every other line stays as it is.

    Raises `ValueError` in a sentence where `taught` names what is not there.
    """
    places = sections_of_terms(taught, course)

    def entries(table: re.Match[str]) -> str:
        head = _cells(table["head"])
        rows = [_cells(line[1:-1]) for line in table["rows"].splitlines()]
        body = (_entry(head, row, places) for row in rows)
        return "\n".join(["```{glossary}", *body, "```", ""])

    page = _TABLE.sub(entries, terms)
    known = {_plain(_cells(line[1:-1])[0]) for line in terms.splitlines() if line[:1] == "|"}
    if strangers := sorted(set(places) - known):
        raise ValueError(
            f"docs/site/taught.toml says where {strangers[0]!r} is taught, which docs/terms.md "
            "does not list. Write the term as it stands there, or take it out."
        )
    return page


def sections_of_terms(taught: Taught, course: Sequence[Page]) -> dict[str, Section]:
    """Find the section that explains each term.

    Raises `ValueError` in a sentence for a heading, or a word under it, that is not there.
    """
    sections = {(s.page.stem, s.heading): s for page in course for s in sections_of(page)}
    found = {}
    for stem, terms in taught.items():
        for term, (heading, word) in terms.items():
            section = sections.get((stem, heading))
            if section is None or word.lower() not in section.words.lower():
                missing = "no such section" if section is None else f"no {word!r} in that section"
                raise ValueError(
                    f"docs/site/taught.toml says that {term!r} is taught in {stem} under "
                    f"{heading!r}, and there is {missing}. Say where it is taught now."
                )
            found[term] = section
    return found


def sections_of(page: Page) -> Iterator[Section]:
    """Cut a page at its headings; what stands before the first belongs to the title."""
    heading, words = page.title, [""]
    for cell in page.cells[:-1]:
        is_text = cell["cell_type"] == "markdown"
        before, *rest = _HEADING.split(text_of(cell)) if is_text else [text_of(cell)]
        words.append(before)
        for title, text in zip(rest[::2], rest[1::2], strict=True):
            yield Section(page, heading, "\n".join(words))
            heading, words = title, [text]
    yield Section(page, heading, "\n".join(words))


def _entry(head: Sequence[str], row: Sequence[str], places: Mapping[str, Section]) -> str:
    """Write a term, what the other columns say about it, and the way to its lesson."""
    term, *rest = row
    said = [f"**{name}**: {words}" for name, words in zip(head[1:], rest, strict=True) if words]
    if section := places.get(_plain(term)):
        said.append(f"*taught in {_link(section)}*")
    # Each on a line of its own: a backslash ends a line in Markdown.
    return f"{_plain(term)}\n  " + " \\\n  ".join(said) + "\n"


def _plain(term: str) -> str:
    return term.replace("`", "")


def _link(section: Section) -> str:
    page = section.page
    plain = section.heading.replace("`", "").replace("*", "").replace("[", "").replace("]", "")
    return f"[{page.title}: {plain}](../{page.file}#{slugify(section.heading)})"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]
