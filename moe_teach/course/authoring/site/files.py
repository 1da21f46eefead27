"""All files of the site's source, made in memory and written where they differ."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from moe_teach.course.authoring import pages as stored_pages
from moe_teach.course.authoring.site import outputs
from moe_teach.course.authoring.site.cards import chapter_cards
from moe_teach.course.authoring.site.glossary import glossary_page
from moe_teach.course.authoring.site.lesson import notebook_page, toctree
from moe_teach.course.authoring.site.links import Links
from moe_teach.course.authoring.site.plan import Chapter, chapters, chapters_by_part, text_of
from moe_teach.course.authoring.site.reference import reference_pages

FRONT = "docs/site/pages"  # the pages that are written for the site alone, at its top
TERMS = "docs/terms.md"
TAUGHT = "docs/site/taught.toml"  # where each term is explained
STATIC = "_static"
_MARK = re.compile(r"^<!-- (\w+)(?:: (\w+))? -->$", re.MULTILINE)


def site_files(root: Path) -> dict[str, bytes]:
    """Make everything that Sphinx reads, by path under the site's source; writes nothing."""
    course = chapters(root)
    plain = _plain_pages(root)
    notebooks = {page.file: (page, chapter) for chapter in course for page in chapter.pages}
    links = Links([*notebooks, *plain], stored_pages.repository_url(root))
    static: outputs.Files = {}
    texts = reference_pages(root)
    for file, (page, chapter) in notebooks.items():
        texts[file], shared = notebook_page(page, chapter, links)
        static |= shared
    for file in plain:
        texts[file] = links.mend((root / file).read_text(encoding="utf-8"), file)
    taught = tomllib.loads((root / TAUGHT).read_text(encoding="utf-8"))
    texts[TERMS] = glossary_page(texts[TERMS], [page for page, _ in notebooks.values()], taught)
    texts["results/README.md"] += "\n" + toctree(
        [(_title(root, file), file) for file in plain if _is_result(file)], hidden=True
    )
    for path in sorted((root / FRONT).glob("*.md")):
        texts[path.name] = _front_page(root, path.read_text(encoding="utf-8"), course, static)
    static |= _shared(root)
    written = {file: text.encode() for file, text in texts.items()}
    return written | {f"{STATIC}/{name}": content for name, content in static.items()}


def write(root: Path, out: Path) -> int:
    """Bring the folder `out` up to date and say how many files changed; others there go."""
    wanted = {out / name: content for name, content in site_files(root).items()}
    present = {path for path in out.rglob("*") if path.is_file()}
    for path in present - set(wanted):
        path.unlink()
    changed = [p for p, new in wanted.items() if p not in present or p.read_bytes() != new]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wanted[path])
    return len(changed)


def _plain_pages(root: Path) -> list[str]:
    """Name the Markdown pages that the site takes as they are, links mended."""
    found = [path for shelf in ("results", "docs") for path in sorted((root / shelf).glob("*.md"))]
    return [path.relative_to(root).as_posix() for path in found] + ["CHANGELOG.md"]


def _is_result(file: str) -> bool:
    return file.startswith("results/") and not file.endswith("README.md")


def _title(root: Path, file: str) -> str:
    first = (root / file).read_text(encoding="utf-8").partition("\n")[0]
    return re.sub(r" \(\d{4}-\d\d-\d\d\)$", "", first.removeprefix("# "))


def _front_page(root: Path, text: str, course: Sequence[Chapter], static: outputs.Files) -> str:
    """Fill in what a page of the top asks for by a comment alone on its line."""

    def part(mark: re.Match[str]) -> str:
        if mark[1] == "chapters":
            return chapter_cards(course, (root / "README.md").read_text(encoding="utf-8"))
        if mark[1] == "navigation":
            return _navigation(course)
        if mark[1] == "documents":
            return _documents(root)
        if mark[1] == "widget":
            shown = _widget_of(course, mark[2])
            static.update(shown.files)
            return shown.html
        raise ValueError(
            f"No part of a page is called {mark[0]!r}: chapters, navigation, documents, widget."
        )

    return _MARK.sub(part, text)


def _navigation(course: Sequence[Chapter]) -> str:
    trees = [
        toctree(
            [(c.lessons[0].title, c.lessons[0].file) for c in members], hidden=True, caption=part
        )
        for part, members in chapters_by_part(course).items()
    ]
    return "\n\n".join(trees)


def _documents(root: Path) -> str:
    """Put the pages of docs/ into the navigation; the terms have a place of their own."""
    files = [file for file in _plain_pages(root) if file.startswith("docs/") and file != TERMS]
    return toctree(
        [(_title(root, file), file) for file in files], hidden=True, caption="Teach and deploy"
    )


def _widget_of(course: Sequence[Chapter], stem: str) -> outputs.Shown:
    """Take the first widget of a lesson for a page at the top of the site."""
    for page in (page for chapter in course for page in chapter.lessons if page.stem == stem):
        for output in (o for cell in page.cells for o in cell.get("outputs", ())):
            html = text_of(output.get("data", {}).get("text/html", ""))
            if outputs.is_twin(html):
                return outputs.twin(html, STATIC)
    raise ValueError(f"Lesson {stem!r}, whose widget a page of the site shows, stores none.")


def _shared(root: Path) -> outputs.Files:
    """What is neither made nor fetched: the start of the widgets, the picture of the front page."""
    shim = root / "moe_teach/widgets/static_twin.js"
    starter = root / "docs/site/twins.js"
    return {
        "twins.js": shim.read_bytes() + b"\n" + starter.read_bytes(),
        "front-door.png": (root / ".github/front-door.png").read_bytes(),
    }
