"""The chapters as cards: what each is about, how much there is to read and to do."""

import re
from collections.abc import Sequence
from html import escape

from moe_teach.course.authoring.site.plan import Chapter, Page, chapters_by_part

_ROW = re.compile(r"^\| (\d\d) \|.*\| ([^|]+) \|$", re.MULTILINE)


def promises(readme: str) -> dict[int, str]:
    """Read from the table of the front page what a reader of each chapter will know."""
    return {int(number): words.strip() for number, words in _ROW.findall(readme)}


def chapter_cards(chapters: Sequence[Chapter], readme: str) -> str:
    """Write all chapters, part by part, as HTML for a page at the top of the site."""
    known = promises(readme)
    parts = []
    for part, members in chapters_by_part(chapters).items():
        cards = "\n".join(_card(chapter, known.get(chapter.number, "")) for chapter in members)
        parts.append(f'## {part}\n\n<div class="moe-site-cards">\n{cards}\n</div>')
    return "\n\n".join(parts)


def _card(chapter: Chapter, promise: str) -> str:
    """Write one card; no blank line, for Markdown would end the HTML there."""
    first, *others = chapter.lessons
    more = "".join(f"<li>{_link(page, page.short_title)}</li>" for page in others)
    todo = chapter.exercises
    if todo:
        hours = f"{sum(todo.minutes) / 60:.1f}".removesuffix(".0")
        more += f"<li>{_link(todo, f'{len(todo.minutes)} exercises')}, about {hours} h</li>"
    words = round(sum(page.n_words for page in chapter.lessons), -2)
    return (
        f'<article class="moe-site-card" id="chapter-{chapter.number:02}">\n'
        f'<p class="moe-site-number" aria-hidden="true">{chapter.number:02}</p>\n'
        f"<h3>{_link(first, first.short_title)}</h3>\n"
        f"<p>{escape(promise[:1].upper() + promise[1:])}</p>\n"
        f"<ul>{more}<li>{words:,} words to read</li></ul>\n</article>"
    )


def _link(page: Page, title: str) -> str:
    return f'<a href="{page.file.removesuffix(".ipynb")}.html">{escape(title)}</a>'
