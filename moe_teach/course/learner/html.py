"""Small pieces of static HTML that read well in light and dark notebooks, with or without a kernel.

Text keeps the host's own colours (`inherit`), and surfaces are faint tints of grey, so both themes
work where JupyterLab's variables exist (`--jp-*`) and where they do not (Colab, exported pages).
Everything that did not come from the course is escaped here.
"""

from html import escape

MONOSPACE = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 0.92em;"
_CARD = (
    "border-left: 4px solid {colour}; border-radius: 3px; padding: 8px 14px; margin: 4px 0; "
    "max-width: 50em; background: rgba(128, 128, 128, 0.09); color: inherit; "
    "font-family: var(--jp-content-font-family, system-ui, sans-serif); line-height: 1.45;"
)


def card(colour: str, label: str, *parts: str) -> str:
    """Wrap `parts` (HTML) in a bordered card; `label` names it for screen readers."""
    inner = "".join(parts)
    style = _CARD.format(colour=colour)
    return f'<div role="group" aria-label="{escape(label)}" style="{style}">{inner}</div>'


def heading(colour: str, icon: str, text: str) -> str:
    """Write a card's first line: a coloured icon and bold words."""
    mark = f'<span aria-hidden="true" style="color: {colour}; font-weight: 700;">{icon}</span>'
    return f'<div style="font-weight: 600;">{mark} {escape(text)}</div>'


def paragraph(text: str) -> str:
    """Write escaped text; line breaks and `code` in backticks survive."""
    return f'<div style="margin-top: 6px; white-space: pre-wrap;">{inline(text)}</div>'


def block(title: str, text: str) -> str:
    """Write a titled block of escaped monospaced text."""
    pre = (
        f'<pre style="{MONOSPACE} margin: 2px 0 0; padding: 4px 8px; overflow-x: auto; '
        'background: rgba(128, 128, 128, 0.12); color: inherit; white-space: pre-wrap;">'
    )
    return f'<div style="margin-top: 6px;">{escape(title)}{pre}{escape(text)}</pre></div>'


def inline(text: str) -> str:
    """Escape text and turn `code` between backticks into monospaced words."""
    pieces = escape(text).split("`")
    if len(pieces) % 2 == 0:  # an odd backtick is just a character
        return "`".join(pieces)
    code = f'<code style="{MONOSPACE} color: inherit; background: rgba(128, 128, 128, 0.15);">'
    return "".join(f"{code}{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a plain table of escaped cells."""
    cell = 'style="text-align: left; padding: 2px 12px 2px 0; color: inherit;"'
    head = "".join(f'<th scope="col" {cell}>{escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td {cell}>{escape(value)}</td>" for value in row) + "</tr>"
        for row in rows
    )
    style = (
        "border-collapse: collapse; background: transparent; margin-top: 6px; "
        "color: inherit; font: inherit;"
    )
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
