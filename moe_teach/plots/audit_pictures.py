"""The pictures of an audit's page: drawn as SVG, each with a sentence that says what it shows."""

from collections.abc import Sequence
from html import escape

from moe_teach.analysis.audit.report import Closed, Crowd, LayerView

_WIDTH, _LEFT, _RIGHT = 620, 120, 545  # of a picture; where its scale begins and ends
_ROW = 30
_Number = int | float


def load_picture(view: LayerView) -> str:
    """Draw the share of the choices on each expert, beside the even share."""
    n, height = len(view.load), 110
    most, even = max(view.load), 1 / n
    step = _WIDTH / n
    marks = []
    for expert, share in enumerate(view.load):
        tall = share / most * (height - 30)
        marks.append(
            f'<rect class="bar e{expert}" x="{expert * step + step * 0.1:.1f}" '
            f'y="{height - 18 - tall:.1f}" width="{step * 0.8:.1f}" height="{tall:.1f}">'
            f"<title>expert {expert}: {share:.1%}</title></rect>"
        )
        if n <= 32:
            marks.append(
                _text(expert * step + step / 2, height - 4, str(expert), "middle", "small")
            )
    line = height - 18 - even / most * (height - 30)
    marks.append(_line(0, _WIDTH, line, line, "even"))
    busiest = max(range(n), key=lambda e: view.load[e])
    said = (
        f"Share of the choices on each of {n} experts; the busiest, expert {busiest}, has "
        f"{most:.1%}, and the dashed line is the even share, {even:.1%}."
    )
    return _picture(height, marks, said)


def margin_picture(views: Sequence[LayerView], border: float) -> str:
    """Draw how far the last chosen expert lay before the first one left out, layer by layer."""
    end = max(view.margin_points[4] for view in views) or 1.0
    height, marks = _ROW * len(views) + 34, []
    scale = (_RIGHT - _LEFT) / end
    for i, view in enumerate(views):
        y = _ROW * i + 16
        low, quarter, middle, three, high = (_LEFT + point * scale for point in view.margin_points)
        marks += [
            _text(0, y + 5, view.name),
            _line(low, high, y, y, "thin"),
            _line(quarter, three, y, y, "wide"),
            f'<circle class="first" cx="{middle:.1f}" cy="{y}" r="5"></circle>',
            _text(high + 8, y + 5, f"{view.margin_points[2]:.3f}", klass="small"),
        ]
    foot = height - 22
    close = _LEFT + border * scale
    marks.append(_line(close, close, 2, foot - 2, "even"))
    marks.append(_line(_LEFT, _RIGHT, foot, foot, ""))
    marks += [
        _text(_LEFT + end * part * scale, foot + 16, f"{end * part:.2f}", "middle", "small")
        for part in (0, 0.5, 1)
    ]
    said = "; ".join(f"{view.name}: median {view.margin_points[2]:.3f}" for view in views)
    return _picture(height, marks, f"Margins of the choices. {said}.")


def damage_picture(closed: Sequence[Closed], names: Sequence[str]) -> str:
    """Draw what the loss rises by without the busiest and without a middling expert."""
    ends = [e for one in closed for e in _ends(one)]
    low, high = min(0.0, *ends), max(1e-6, *ends)
    scale = (_RIGHT - _LEFT) / (high - low)
    zero = _LEFT - low * scale
    layers = sorted({one.layer for one in closed})
    height, marks = 46 * len(layers) + 8, []
    marks.append(_line(zero, zero, 0, height, "zero"))
    for one in closed:
        is_first = one.kind == "busiest"
        y = 46 * layers.index(one.layer) + (14 if is_first else 34)
        left, right = (zero + e * scale for e in _ends(one))
        if is_first:
            marks.append(_text(0, y + 14, names[one.layer]))
        marks.append(_line(left, right, y, y, "one" if is_first else "two"))
        marks.append(
            f'<circle class="{"first" if is_first else "second"}" '
            f'cx="{zero + one.rise * scale:.1f}" cy="{y}" r="5"></circle>'
        )
        marks.append(_text(right + 8, y + 4, f"{one.rise:+.3f}".replace("-", "−"), klass="small"))
    said = "; ".join(
        f"{names[one.layer]} without its {one.kind} expert {one.rise:+.3f}" for one in closed
    )
    return _picture(height, marks, f"Rise of the loss in nats per token: {said}.")


def crowd_picture(crowds: Sequence[Crowd]) -> str:
    """Draw which share of the predictions changes with the neighbours, capacity by capacity."""
    height, marks = 50 * len(crowds) + 4, []
    scale = _RIGHT - _LEFT - 30
    for i, crowd in enumerate(crowds):
        y = 50 * i + 4
        marks.append(_text(0, y + 25, crowd_name(crowd)))
        for k, (share, kind) in enumerate(
            ((crowd.changed_by_others, "first"), (crowd.changed_by_flood, "second"))
        ):
            top = y + 20 * k
            marks.append(
                f'<rect class="{kind}" x="{_LEFT + 30}" y="{top}" width="{share * scale:.1f}" '
                'height="17"></rect>'
            )
            place = _LEFT + 38 + share * scale
            marks.append(_text(place, top + 13, f"{share:.1%}", klass="small"))
    said = "; ".join(
        f"{crowd_name(crowd)}: {crowd.changed_by_others:.1%} beside other texts, "
        f"{crowd.changed_by_flood:.1%} in a flood"
        for crowd in crowds
    )
    return _picture(height, marks, f"Predictions that change with the neighbours. {said}.")


def crowd_name(crowd: Crowd) -> str:
    """Say which capacity this is."""
    return "as it is" if crowd.factor is None else f"capacity × {crowd.factor:g}"


def _ends(one: Closed) -> tuple[float, float]:
    if one.interval is None:
        return one.rise, one.rise
    return one.interval.low, one.interval.high


def _text(x: _Number, y: _Number, words: str, anchor: str = "start", klass: str = "") -> str:
    kind = f' class="{klass}"' if klass else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: _Number, x2: _Number, y1: _Number, y2: _Number, klass: str) -> str:
    return f'<line class="{klass}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"></line>'


def _picture(height: int, marks: Sequence[str], said: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(said)}">'
        f"{''.join(marks)}</svg></figure>"
    )
