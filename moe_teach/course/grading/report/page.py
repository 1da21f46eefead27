"""The frame of a page that stands alone: one file, no scripts, nothing asked of the network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from moe_teach.course.learner.feedback import inline

# No script may run and nothing may be loaded, whatever a learner wrote into a name or a message.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, *parts: str) -> str:
    """Write a whole page; `parts` are HTML."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def colour_of(group: str) -> str:
    """Name the colour of a group of statuses."""
    return f"var(--{group.replace(' ', '-')})"


def text(words: str) -> str:
    """Write somebody's words: escaped, and kept apart from the text around by their direction."""
    return f"<bdi>{inline(words)}</bdi>"


def paragraph(words: str, label: str = "") -> str:
    """Write words as a paragraph; nothing for none."""
    before = f'<span class="label">{escape(label)}</span> ' if label else ""
    return f"<p>{before}{text(words)}</p>" if words else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """Write a table of HTML cells; the columns in `numbers` stand flush right."""
    right = set(numbers)

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["number" if i in right else "name" if not i else "" for i in range(len(cells))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f'<{tag}{scope} class="{kind}">{cell}</{tag}>'
            for kind, cell in zip(kinds, cells, strict=True)
        )

    body = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    head = line([escape(name) for name in header], "th")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n'
        "</tbody></table></div>"
    )
