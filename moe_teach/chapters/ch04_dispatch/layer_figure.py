"""The figure of exercise 4.7: a layer of the reader's own, before the laws and in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moe_teach.analysis.law_report import LawReport
from moe_teach.plots.style import FAINT, INK, MARKERS, PALETTE, described, figure

_SHARES = "cividis"  # readable with every common colour vision
_BLUE, _GREEN, _RED = PALETTE[0], PALETTE[2], PALETTE[3]
_LOOKS = ((_BLUE, "-"), (PALETTE[1], "--"), (PALETTE[4], ":"))
_MARKS = {
    "holds": ("✓", _GREEN),
    "broken": ("✗", _RED),
    "raised": ("✗", _RED),
    "cannot hold": ("○", INK),
    "not tested": ("–", INK),
}


def your_layer(
    authors: Mapping[str, str],
    reports: Mapping[str, LawReport],
    losses: Mapping[str, Sequence[Sequence[float]]],
    before: Any,
    after: Any,
) -> Figure:
    """Draw a layer of the reader's own: its way, the laws, its learning, and who goes where.

    `authors` maps each part, in its order, to "you" or "the course". `reports` gives what the laws
    said of the layer and of faulty ones, `losses` the curves of the same ones, one for each seed.
    `before` and `after` (kinds, E) hold the share of each kind's choices on each expert.
    """
    drawing, axes = figure(
        11.5, 6.0, nrows=2, ncols=4, height_ratios=(0.3, 1), width_ratios=(0.75, 1.15, 1, 1)
    )
    grid = axes[0, 0].get_gridspec()
    for panel in axes[0]:
        panel.remove()
    _way(drawing.add_subplot(grid[0, :]), authors)
    _laws(axes[1, 0], reports)
    _curves(axes[1, 1], losses)
    _shares(axes[1, 2], before, "Before training")
    _shares(axes[1, 3], after, "After training")
    return described(drawing, _in_words(authors, reports, losses, after))


def _way(axes: Any, authors: Mapping[str, str]) -> None:
    """Draw the way of a token through the parts; a part of the reader's own is filled."""
    steps = ["x", *authors, "y"]
    axes.set(xlim=(-0.6, len(steps) - 0.4), ylim=(-0.75, 0.75))
    axes.set_axis_off()
    for at, step in enumerate(steps):
        if at:
            arrow = {"arrowstyle": "->", "color": INK, "lw": 1.4}
            axes.annotate("", (at - 0.34, 0), (at - 0.66, 0), arrowprops=arrow)
        if step not in authors:
            axes.text(at, 0, step, ha="center", va="center", fontsize=13, color=INK)
            continue
        is_own = authors[step] == "you"
        box = {"boxstyle": "round,pad=0.5", "edgecolor": _BLUE, "linewidth": 2}
        box["facecolor"] = _BLUE if is_own else "none"
        ink = "white" if is_own else INK
        axes.text(at, 0, step, ha="center", va="center", fontsize=13, color=ink, bbox=box)
        axes.text(at, -0.62, f"by {authors[step]}", ha="center", fontsize=9, color=INK)


def _laws(axes: Any, reports: Mapping[str, LawReport]) -> None:
    names = [result.name for result in next(iter(reports.values()))]
    axes.set(xlim=(-0.5, len(reports) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.set_xticks(range(len(reports)), list(reports), fontsize=9, rotation=40, ha="left")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    for column, report in enumerate(reports.values()):
        for row, result in enumerate(report):
            mark, colour = _MARKS[result.outcome]
            heavy = "bold" if result.outcome in ("holds", "broken", "raised") else "normal"
            axes.text(
                column, row, mark, ha="center", va="center", color=colour, fontsize=13, weight=heavy
            )
    axes.set_xlabel("✓ holds   ✗ broken\n○ cannot hold   – not tested", fontsize=8)


def _curves(axes: Any, losses: Mapping[str, Sequence[Sequence[float]]]) -> None:
    handles = []
    for (name, curves), (colour, dashes), marker in zip(
        losses.items(), _LOOKS, MARKERS, strict=False
    ):
        style = {"color": colour, "ls": dashes, "marker": marker, "mfc": "none", "ms": 5}
        for curve in curves:
            axes.plot(curve, lw=1.2, markevery=max(1, len(curve) // 5), **style)
        handles.append(
            Line2D([], [], label=f"{name}: {np.mean([c[-1] for c in curves]):.2f}", **style)
        )
    axes.axhline(1.0, color=FAINT, lw=1.0)
    axes.text(len(curves[0]) - 1, 1.02, "a constant guess", ha="right", fontsize=8)
    axes.set(title=f"Loss, {len(curves)} seeds each", xlabel="step", ylabel="loss", ylim=(0, 1.4))
    axes.legend(
        handles=handles,
        title="mean of the last step",
        fontsize=8,
        title_fontsize=8,
        loc="upper right",
        bbox_to_anchor=(1.02, 0.71),
    )


def _shares(axes: Any, table: Any, title: str) -> None:
    shares = np.asarray(table)
    axes.imshow(shares, cmap=_SHARES, vmin=0, vmax=1, aspect="auto")
    for (kind, expert), share in np.ndenumerate(shares):
        ink = "#111111" if share > 0.55 else "white"  # on a filled area, not on the page
        axes.text(expert, kind, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9)
    axes.set(title=title, xlabel="expert", ylabel="kind of the token")
    axes.set(xticks=range(shares.shape[1]), yticks=range(shares.shape[0]))


def _in_words(
    authors: Mapping[str, str],
    reports: Mapping[str, LawReport],
    losses: Mapping[str, Sequence[Sequence[float]]],
    after: Any,
) -> str:
    own = [part for part, author in authors.items() if author == "you"]
    said = [
        f"The way of a token through {', '.join(authors)}; yours are {', '.join(own) or 'none'}."
    ]
    for name, report in reports.items():
        broken = ", ".join(result.name for result in report.broken) or "no law"
        ends = np.mean([curve[-1] for curve in losses[name]])
        said.append(f"{name.capitalize()} breaks {broken} and learns to a loss of {ends:.2f}.")
    shares = np.asarray(after)
    firsts = [
        f"kind {kind}: expert {row.argmax()} with {row.max():.0%}"
        for kind, row in enumerate(shares)
    ]
    said.append(f"After training the favourites are, for {'; '.join(firsts)}.")
    return " ".join(said)
