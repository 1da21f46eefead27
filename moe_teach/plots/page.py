"""The frame of a page that stands alone: one file, no scripts, nothing asked of the network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

# No script may run and nothing may be loaded, whatever somebody wrote into a name or a message.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, *parts: str, style: str = "") -> str:
    """Write a whole page, for light and dark screens and for paper.

    Args:
        title: of the page, as plain text.
        parts: HTML, one under the other.
        style: rules of this page alone, after those of all pages (`page.css`).
    """
    common = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{common}{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


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
