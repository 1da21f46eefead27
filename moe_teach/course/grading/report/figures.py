"""The figures of the report, drawn as SVG that follows the page's colours, light and dark."""

from collections.abc import Sequence
from html import escape

from moe_teach.course.grading.report.page import colour_of
from moe_teach.course.grading.report.statistics import GROUPS, ItemFacts

_WIDTH = 900
_LABELS = 330  # pixels for ids and titles
_LETTERS = 42  # of a title, which are as wide as that
_ROW = 30
_BINS = 10
_HEIGHT = 190
_NARROW = 18  # pixels under which a segment carries no number


def success_bars(items: Sequence[ItemFacts]) -> str:
    """Draw one bar an exercise, cut by what became of it, with the share that passed behind it."""
    rows = [_bar(item, row * _ROW + 4) for row, item in enumerate(items)]
    said = "; ".join(f"{i.exercise}: {_percent(i.success)} passed" for i in items)
    return _svg(len(items) * _ROW + 8, f"What became of each exercise. {said}.", *rows)


def key() -> str:
    """Write the legend of the bars."""
    items = (
        f'<li><i style="background: {colour_of(group)}"></i>{escape(group)}</li>'
        for group in GROUPS
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def histogram(shares: Sequence[float]) -> str:
    """Draw how many students have which share of their points."""
    counts = [0] * _BINS
    for share in shares:
        counts[min(int(share * _BINS + 1e-9), _BINS - 1)] += 1
    top = max(counts, default=0) or 1
    wide = (_WIDTH - 60) / _BINS
    drawn = [f'<line x1="30" x2="{_WIDTH - 30}" y1="{_HEIGHT - 40}" y2="{_HEIGHT - 40}"/>']
    for number, count in enumerate(counts):
        x, tall = 30 + number * wide, (_HEIGHT - 66) * count / top
        y, middle = _HEIGHT - 40 - tall, x + wide / 2
        if count:
            drawn.append(_rectangle(x + 3, y, wide - 6, tall, "partly"))
            drawn.append(_text(middle, y - 6, str(count), 'text-anchor="middle"'))
        low, high = 100 * number // _BINS, 100 * (number + 1) // _BINS
        label = f"{low} to {high}" if number < _BINS - 1 else f"{low} to 100"
        drawn.append(_text(middle, _HEIGHT - 22, label, 'class="small" text-anchor="middle"'))
    middle = _WIDTH / 2
    axis = "share of the points, in %; above each bar the number of students"
    drawn.append(_text(middle, _HEIGHT - 3, axis, 'class="small" text-anchor="middle"'))
    said = ", ".join(f"{c} from {10 * n} %" for n, c in enumerate(counts) if c)
    return _svg(_HEIGHT, f"How many students have which share of their points: {said}.", *drawn)


def _bar(item: ItemFacts, y: int) -> str:
    title = item.title if len(item.title) <= _LETTERS else item.title[: _LETTERS - 2].rstrip() + "…"
    drawn = [_text(0, y + 17, item.exercise), _text(44, y + 17, title, 'class="small"')]
    x, wide = float(_LABELS), _WIDTH - _LABELS - 60
    for group, count in item.groups.items():
        size = wide * count / item.n_students
        if count:
            drawn.append(_rectangle(x, y, size, _ROW - 8, group, f"{count} {group}"))
            if size >= _NARROW:
                drawn.append(_text(x + size / 2, y + 16, str(count), 'class="on"'))
        x += size
    drawn.append(_text(_WIDTH, y + 17, _percent(item.success), 'text-anchor="end"'))
    return "".join(drawn)


def _percent(share: float | None) -> str:
    return "open" if share is None else f"{100 * share:.0f} %"


def _svg(height: int, said: str, *drawn: str) -> str:
    label = escape(said)
    inner = "\n".join(drawn)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">\n'
        f"{inner}\n</svg></figure>"
    )


def _rectangle(
    x: float | int, y: float | int, wide: float | int, tall: float | int, group: str, said: str = ""
) -> str:
    title = f"<title>{escape(said)}</title>" if said else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
    return f'<rect {place} style="fill: {colour_of(group)}">{title}</rect>'


def _text(x: float | int, y: float | int, words: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{escape(words)}</text>'
