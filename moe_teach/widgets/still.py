"""Strokes of the still pictures: what a widget shows before it is run, and where no script may.

SVG without a ground: the picture stands in the page as an image, where it cannot ask whether the
page is light or dark, so its ink is a grey that both show.
"""

from collections.abc import Sequence
from html import escape

Number = float | int

INK = "#787878"
# Okabe and Ito's (2008) hues, in the order of theme.css.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", INK)
MOST_MARKS = 400  # more could not be told apart, and a page has to be light
DASHES = ("", "7 3", "2 2", "9 3 2 3")


def sheet(width: int, height: int, title: str, *strokes: str) -> str:
    """Give the source of a picture: a title and below it the strokes."""
    head = label(8, 20, title, size=14, weight=600)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
        f"{head}{''.join(strokes)}</svg>"
    )


def label(
    x: Number,
    y: Number,
    words: str,
    *,
    size: int = 12,
    weight: int = 400,
    anchor: str = "start",
    colour: str = INK,
) -> str:
    """Write words with their baseline at y."""
    return (
        f'<text x="{x:.4g}" y="{y:.4g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
    )


def box(
    x: Number, y: Number, width: Number, height: Number, colour: str, *, full: Number = 1.0
) -> str:
    """Draw an outlined rectangle, filled with that share of its colour."""
    return (
        f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}" rx="1.5" '
        f'fill="{colour}" fill-opacity="{full:.2g}" stroke="{colour}"/>'
    )


def line(points: Sequence[tuple[Number, Number]], colour: str = INK, dash: str = "") -> str:
    """Draw a line through points."""
    place = " ".join(f"{x:.4g},{y:.4g}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{place}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>'


def dashes(strokes: Sequence[tuple[Number, Number, Number, Number]], colour: str = INK) -> str:
    """Draw many straight strokes as one path; each goes from its first point to its second."""
    path = "".join(f"M{x:.4g} {y:.4g}L{to_x:.4g} {to_y:.4g}" for x, y, to_x, to_y in strokes)
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-linecap="square"/>'


def dot(x: Number, y: Number, radius: Number, colour: str) -> str:
    """Draw a disc."""
    return f'<circle cx="{x:.4g}" cy="{y:.4g}" r="{radius:.4g}" fill="{colour}"/>'


def colour_of(expert: int) -> str:
    """Give an expert's colour; with more than eight they repeat, and the numbers tell."""
    return COLOURS[expert % len(COLOURS)]
