"""One stored notebook as a page: buttons for badges, shared files for outputs, the way onward."""

import json
from collections.abc import Sequence
from typing import Any

from moe_teach.course.authoring.site import outputs
from moe_teach.course.authoring.site.links import Links
from moe_teach.course.authoring.site.plan import Chapter, Page, text_of

STATIC = "../_static"  # notebooks lie one folder deep
_NOTEBOOK = {
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


def notebook_page(page: Page, chapter: Chapter, links: Links) -> tuple[str, outputs.Files]:
    """Give the notebook that the site reads for `page`, and the shared files that it asks for."""
    files: outputs.Files = {}
    first, *inner = page.cells[
        :-1
    ]  # the last cell is the way onward, which the site has its own of
    opening = links.buttons(text_of(first), page.file)
    cells = [_markdown(first, links.mend(opening, page.file))]
    for cell in inner:
        if cell["cell_type"] == "markdown":
            cells.append(_markdown(cell, links.mend(text_of(cell), page.file)))
        else:
            cells.append(_code(cell, files))
    cells.append(_markdown(page.cells[-1], _onward(page, chapter, links)))
    return json.dumps({**_NOTEBOOK, "cells": cells}, ensure_ascii=False, indent=1), files


def _markdown(cell: dict[str, Any], text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": cell["id"], "metadata": {}, "source": text}


def _code(cell: dict[str, Any], files: outputs.Files) -> dict[str, Any]:
    is_setup = cell["metadata"].get("moe_teach", {}).get("role") == "setup"
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": cell["id"],
        "metadata": {"tags": ["hide-input"]} if is_setup else {},
        "outputs": [_output(output, files) for output in cell["outputs"]],
        "source": text_of(cell),
    }


def _output(output: dict[str, Any], files: outputs.Files) -> dict[str, Any]:
    bundle = output.get("data", {})
    html = text_of(bundle.get("text/html", ""))
    if "image/png" in bundle:
        shown = outputs.figure(bundle, output["metadata"], STATIC)
    elif outputs.is_twin(html):
        shown = outputs.twin(html, STATIC)
    elif html:
        shown = outputs.Shown(f'<div class="moe-site-output">{html}</div>', {})
    else:
        return output
    files |= shown.files
    return {"data": {"text/html": shown.html}, "metadata": {}, "output_type": "display_data"}


def _onward(page: Page, chapter: Chapter, links: Links) -> str:
    """Lead to the chapter's other pages, and to its solutions where the repository has them."""
    lines = [f"- [{other.title}](../{other.file})" for other in chapter.pages if other != page]
    if chapter.exercises:
        solutions = f"solutions/{chapter.exercises.stem}.ipynb"
        lines.append(f"- [Solutions, when you want them]({links.file(solutions)})")
    parts = ["---", "**The rest of this chapter**", "\n".join(lines)] if lines else ["---"]
    followers = [other for other in chapter.pages if other != chapter.lessons[0]]
    if page == chapter.lessons[0] and followers:
        parts.append(toctree([(_entry(other), other.file) for other in followers], hidden=True))
    return "\n\n".join(parts)


def _entry(page: Page) -> str:
    return "Exercises" if page.shelf == "exercises" else page.title


def toctree(entries: Sequence[tuple[str, str]], *, caption: str = "", hidden: bool = False) -> str:
    """Write the directive that puts pages, as pairs of title and file, into the navigation."""
    options = [":hidden:"] * hidden + [f":caption: {caption}"] * bool(caption)
    lines = [f"{title} </{file.rpartition('.')[0]}>" for title, file in entries]
    return "\n".join(["```{toctree}", *options, "", *lines, "```"])
