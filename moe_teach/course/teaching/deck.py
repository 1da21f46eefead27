"""Writes slides as one HTML file that needs no network: keys, light and dark, print."""

import html
import re
from importlib.resources import files
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.teaching.slides import Slide, slides_of

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
<main>
{slides}</main>
<p class="where" role="status" aria-live="polite"></p>
<script>
{script}</script>
</html>
"""


def deck_of(root: Path, chapter: int) -> str:
    """Make the talk of a chapter out of all its lessons; `UnknownId` says which chapters exist.

    Raises `FileNotFoundError` where the lessons have not been built.
    """
    slug = registry.chapters().get(chapter)
    if slug is None:
        registry.room(chapter)  # says in a sentence which there are
    lessons = sorted((root / "notebooks").glob(f"{chapter:02d}*.ipynb"))
    if not lessons:
        raise FileNotFoundError(
            f"There is no lesson {chapter:02d} in {root / 'notebooks'}: run `make notebooks`."
        )
    slides = [slide for lesson in lessons for slide in slides_of(lesson)]
    return page([*slides, _homework(chapter)])


def _homework(chapter: int) -> Slide:
    """List the exercises of a chapter, as their cards have them."""
    lines = [
        f"- **{exercise.id}** {exercise.title}: about {exercise.minutes} minutes"
        for exercise in registry.room(chapter).EXERCISES
    ]
    return Slide("takeaway", "Exercises of this chapter", "\n".join(lines))


def page(slides: list[Slide]) -> str:
    """Write one page; the first slide's heading is its title."""
    here = files(__package__)
    return _PAGE.format(
        title=html.escape(slides[0].heading),
        style=(here / "deck.css").read_text(encoding="utf-8"),
        script=(here / "deck.js").read_text(encoding="utf-8"),
        slides="".join(_section(slide) for slide in slides),
    )


def _section(slide: Slide) -> str:
    level = "h1" if slide.kind == "claim" else "h2"
    parts = [f"<{level}>{_inline(slide.heading)}</{level}>"]
    if slide.picture:
        source = f"data:image/png;base64,{slide.picture}"
        parts.append(f'<img src="{source}" alt="{html.escape(slide.alt, quote=True)}">')
    if slide.words:
        parts.append(f'<div class="words">{markdown(slide.words)}</div>')
    if slide.printed:
        parts.append(f"<pre>{html.escape(slide.printed)}</pre>")
    if slide.answer:
        told = markdown(slide.answer)
        parts.append(f"<details><summary>After the vote</summary>{told}</details>")
    return f'<section class="{slide.kind}">\n' + "\n".join(parts) + "\n</section>\n"


def markdown(words: str) -> str:
    """Turn Markdown into HTML."""
    import mistune

    return str(mistune.create_markdown(escape=True, plugins=["table"])(words))


def _inline(words: str) -> str:
    return re.sub(r"^<p>|</p>$", "", markdown(words).strip())
