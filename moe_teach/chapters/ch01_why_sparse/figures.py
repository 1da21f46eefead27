"""Figures of chapter 01: what every model stores, and what a token uses of it.

The drawing functions take plain numbers and the records below; they know no model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from moe_teach.catalog import ModelCard
from moe_teach.cost import active_share, n_params_active, n_params_total, shared_share
from moe_teach.plots.style import INK, MARKERS, PALETTE, described, figure

BLUE, ORANGE, _, RED = PALETTE[:4]
PUZZLE = "the puzzle of this chapter"


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """One model in numbers: parameters, top_k / n_experts, and the part that is shared."""

    name: str
    total: int
    active: int
    routed: float
    shared: float

    @property
    def is_dense(self) -> bool:
        """Whether every parameter works on every token."""
        return self.shared == 1.0


def points_of(cards: Iterable[ModelCard]) -> list[CostPoint]:
    """Count each card's model; active parameters include the input embedding."""
    return [
        CostPoint(
            name=card.name,
            total=n_params_total(card.config),
            active=n_params_active(card.config),
            routed=_routed(card),
            shared=shared_share(card.config),
        )
        for card in cards
    ]


def _routed(card: ModelCard) -> float:
    if card.config.moe is None:
        return 1.0
    return card.config.moe.router.top_k / card.config.moe.router.n_experts


def catalog_figure(points: Sequence[CostPoint], highlight: str) -> Figure:
    """Total against active parameters with FLOPs per token, and when "one-eighth" is true.

    `highlight` names the point that stands out and that is put on the second panel too.
    """
    drawing, (left, right) = figure(11.0, 6.0, ncols=2, width_ratios=(2.4, 1))
    _draw_catalog(left, points, highlight)
    chosen = next(point for point in points if point.name == highlight)
    _draw_one_eighth(right, chosen)
    n_dense = sum(point.is_dense for point in points)
    return described(
        drawing,
        f"Left: total against active parameters of {len(points)} models on logarithmic axes; "
        f"{n_dense} dense ones stand on the diagonal, {len(points) - n_dense} sparse ones below "
        f"it. Right: with 2 of 16 experts, total over active falls from 8 to "
        f"{1 / active_share(0.2, 16, 2):.1f} as the shared part grows from 0 to 20 percent; "
        f"{chosen.name} shares {100 * chosen.shared:.1f} percent and stands at "
        f"{chosen.total / chosen.active:.1f}.",
    )


def _draw_catalog(axes: Any, points: Sequence[CostPoint], highlight: str) -> None:
    ends = np.array([0.4, 6000.0])
    for one_over, style in ((1, "-"), (4, "--"), (8, "-."), (32, ":")):
        text = "dense: all of it" if one_over == 1 else f"1/{one_over}"
        axes.plot(ends, ends / one_over, style, color=INK, linewidth=0.9, label=text)
    for label, colour, marker, size in (
        ("sparse", BLUE, MARKERS[0], 40),
        ("dense", INK, MARKERS[1], 40),
        (PUZZLE, RED, MARKERS[7], 190),
    ):
        stored, used = _places(points, label, highlight)
        axes.scatter(stored, used, s=size, color=colour, marker=marker, zorder=3, label=label)
    axes.set(
        xscale="log", yscale="log", xlim=(0.45, 5500), ylim=(0.15, 130),
        xlabel="stored: total parameters (billions)",
        ylabel="used: active parameters a token (billions)",
        title="What models store, what a token uses and costs",
    )  # fmt: skip
    cost = axes.secondary_yaxis("right", functions=(lambda b: 2 * b, lambda g: g / 2))
    cost.set_ylabel("cost: about so many GFLOP a token (2 x active)")
    cost.spines["right"].set_color(INK)  # an axis that comes later does not know the style
    cost.tick_params(which="both", color=INK)
    axes.legend(title="line: active / total", loc="upper left", fontsize=8, title_fontsize=8)
    marks = [(p.total / 1e9, p.active / 1e9, p.name) for p in points]
    _label(axes, marks, gaps=[13 if p.name == highlight else 8 for p in points])


def _places(points: Sequence[CostPoint], label: str, highlight: str) -> tuple[list[float], ...]:
    """Give total and active billions of the points that this entry of the legend stands for."""
    chosen = [
        point
        for point in points
        if label == (PUZZLE if point.name == highlight else "dense" if point.is_dense else "sparse")
    ]
    return [point.total / 1e9 for point in chosen], [point.active / 1e9 for point in chosen]


_SIDES = ((1, 0, "left"), (-1, 0, "right"), (0, 1.3, "center"), (0, -1.3, "center"))
_SIDES += ((1, 1, "left"), (1, -1, "left"), (-1, 1, "right"), (-1, -1, "right"))


def _label(axes: Any, marks: Sequence[tuple[float, float, str]], gaps: Sequence[int]) -> None:
    """Write each name beside its mark, on the first side where it meets nothing.

    Marks with the nearest neighbours choose first.
    """
    axes.figure.draw_without_rendering()
    centres = axes.transData.transform([mark[:2] for mark in marks])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    for number in np.sort(apart, axis=1)[:, 1:4].sum(axis=1).argsort(kind="stable"):
        (x, y, name), gap = marks[number], gaps[number]
        others = taken[:number] + taken[number + 1 :]
        for trial, (dx, dy, align) in enumerate(_SIDES, start=1):
            text = axes.annotate(
                name, (x, y), (gap * dx, gap * dy), textcoords="offset points", ha=align,
                va="center", fontsize=7.5,
            )  # fmt: skip
            box = text.get_window_extent()
            free = box.x1 < axes.bbox.x1 and not any(box.overlaps(other) for other in others)
            if free or trial == len(_SIDES):
                break
            text.remove()
        taken.append(box)


def _draw_one_eighth(axes: Any, chosen: CostPoint) -> None:
    shares = np.linspace(0.0, 0.3, 61)
    axes.plot(100 * shares, [1 / active_share(s, 16, 2) for s in shares], color=BLUE)
    axes.axhline(8, color=INK, linestyle="--", linewidth=0.9)
    axes.text(30, 8.08, "the promise: 1/8", ha="right", va="bottom", fontsize=8)
    axes.plot(100 * chosen.shared, chosen.total / chosen.active, MARKERS[7], color=RED, ms=14)
    axes.annotate(
        chosen.name.replace(" ", "\n", 1)
        + f":\n{100 * chosen.shared:.1f} % shared\n1/{chosen.total / chosen.active:.1f}",
        (100 * chosen.shared, chosen.total / chosen.active), (0.1, 4.3), fontsize=8, color=RED,
    )  # fmt: skip
    for share in (0.0, 0.05, 0.10, 0.20):
        one_over = 1 / active_share(share, 16, 2)
        axes.plot(100 * share, one_over, MARKERS[0], color=BLUE, ms=5, zorder=4)
        axes.annotate(
            f"1/{one_over:.1f}", (100 * share, one_over), (9, 4), textcoords="offset points"
        )
    axes.set(
        xlabel="shared by all tokens (% of the total)",
        ylabel="total / active",
        title='2 of 16 experts:\nis it "one-eighth"?',
        ylim=(2, 8.9),
    )


def promise_figure(points: Sequence[CostPoint]) -> Figure:
    """For every sparse model, top_k / n_experts (open) beside active / total (filled)."""
    sparse = sorted((p for p in points if not p.is_dense), key=lambda p: p.active / p.total)
    drawing, axes = figure(7.5, 0.27 * len(sparse) + 1.2)
    rows = range(len(sparse))
    promised, true = [p.routed for p in sparse], [p.active / p.total for p in sparse]
    axes.hlines(rows, promised, true, color=INK, linewidth=1.2)
    axes.scatter(
        promised, rows, facecolors="none", edgecolors=ORANGE, s=42, marker=MARKERS[1], zorder=3,
        label="promise: top_k / n_experts",
    )  # fmt: skip
    axes.scatter(true, rows, color=BLUE, s=42, zorder=4, label="true: active / total")
    axes.set(
        xscale="log", yticks=list(rows), xlabel="share of all parameters that works on a token",
        title="The promise leaves out what is shared",
    )  # fmt: skip
    axes.set_yticklabels([p.name for p in sparse])
    axes.legend(loc="lower right", fontsize=9)
    widest = max(sparse, key=lambda p: (p.active / p.total) / p.routed)
    return described(
        drawing,
        f"For each of {len(sparse)} sparse models an open square at top_k / n_experts and a filled "
        "circle at active / total, on a logarithmic axis; the circle is always to the right. They "
        f"are farthest apart for {widest.name}: {widest.routed:.4f} and "
        f"{widest.active / widest.total:.4f}.",
    )
