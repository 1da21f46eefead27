"""The figures of lesson 06, the toy: load over training, its price, causes and cures over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float] | Sequence[int] | np.ndarray
BANDS = (*PALETTE[:7], "#BBBBBB")
NAMED = 0.06  # a band thinner than this share has no room for its expert's number


def load_over_training(counts: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> Figure:
    """Stack the load of every expert over the steps of training, one panel per method.

    `counts` holds rows per expert at each step, (n_steps, n_experts); they are averaged over a
    fortieth of the run and divided by their sum. `notes` says a word about the end of each run.
    Bands carry the number of their expert where they end, so colour is not needed to read them.
    """
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    drawing, grid = figure(
        9.6, 0.5 + 2.3 * rows, ncols=columns, nrows=rows, sharex=True, sharey=True, squeeze=False
    )
    panels = list(grid.flat)
    for axes, (name, table) in zip(panels, counts.items(), strict=False):
        _stack(axes, np.asarray(table, dtype=float))
        axes.set_title(f"{name}\n{notes[name]}", fontsize=10)
    for axes in panels[len(counts) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the rows")
    for axes in grid[-1]:
        axes.set_xlabel("training step")
    drawing.supxlabel("each band is one expert, with its number where it ends", fontsize=9)
    ends = "; ".join(f"{name}: {notes[name]}" for name in counts)
    return described(drawing, f"The share of every expert over training, stacked. {ends}.")


def smoothed(table: np.ndarray, n_windows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle step of each window, and the load within it: (W,), (W, E)."""
    windows = np.array_split(np.arange(len(table)), min(n_windows, len(table)))
    sums = np.array([table[window].sum(axis=0) for window in windows], dtype=float)
    return np.array([window.mean() for window in windows]), sums / sums.sum(axis=1, keepdims=True)


def _stack(axes: Axes, table: np.ndarray) -> None:
    steps, loads = smoothed(table)
    axes.stackplot(steps, loads.T, colors=BANDS, edgecolor="white", linewidth=0.8)
    middles = loads[-1].cumsum() - loads[-1] / 2
    for expert, (height, share) in enumerate(zip(middles, loads[-1], strict=True)):
        if share >= NAMED:
            place = (1.01, height)
            axes.text(*place, str(expert), va="center", fontsize=8, transform=axes.transAxes)
    axes.set(xlim=(steps[0], steps[-1]), ylim=(0, 1))


@dataclass(frozen=True)
class Price:
    """One strength of one method: imbalance and accuracy, a number for each seed."""

    strength: float
    imbalance: Numbers
    accuracy: Numbers


def trade_off(prices: Mapping[str, Sequence[Price]], anchors: Mapping[str, Numbers]) -> Figure:
    """Draw accuracy against imbalance (MaxVio): a line per method, a mark per strength.

    Marks are medians over the seeds, thin bars their full range in both directions. Each mark is
    labelled with its strength. `anchors` are accuracies to compare with; each has its name.
    """
    drawing, panels = figure(9.6, 3.9, ncols=len(prices), sharex=True, sharey=True, squeeze=False)
    for column, (axes, (name, points)) in enumerate(zip(panels[0], prices.items(), strict=True)):
        middles = [_draw_price(axes, point, column) for point in points]
        axes.plot(*zip(*middles, strict=True), color=PALETTE[column], linewidth=1)
        for i, (point, middle) in enumerate(zip(points, middles, strict=True)):
            offset = (5, -11 if i % 2 else 5)  # neighbours are often close: turn about
            text = f"{point.strength:g}"
            axes.annotate(text, middle, offset, textcoords="offset points", fontsize=8)
        for label, accuracy in anchors.items():
            _draw_anchor(axes, label if column == 0 else "", accuracy)
        axes.set(title=name, xlabel="MaxVio on test tokens", xlim=(-0.45, None))
    panels[0][0].set_ylabel("accuracy on test tokens")
    marks = (
        Line2D([], [], color=INK, marker="o", linewidth=1, label="median, with its strength"),
        Line2D([], [], color=FAINT, linewidth=1.5, label="range of the seeds"),
        Line2D([], [], color=INK, linewidth=1, linestyle=":", label="to compare with"),
    )
    drawing.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=9)
    return described(drawing, " ".join(_price_in_words(*item) for item in prices.items()))


def _price_in_words(name: str, points: Sequence[Price]) -> str:
    said = "; ".join(
        f"at {point.strength:g} MaxVio {np.median(point.imbalance):.1f}, accuracy "
        f"{np.median(point.accuracy):.2f}"
        for point in points
    )
    return f"{name}: {said}."


def _draw_price(axes: Axes, price: Price, column: int) -> tuple[float, float]:
    x, y = float(np.median(price.imbalance)), float(np.median(price.accuracy))
    reach = [
        [[middle - min(values)], [max(values) - middle]]
        for middle, values in ((x, price.imbalance), (y, price.accuracy))
    ]
    axes.errorbar(x, y, xerr=reach[0], yerr=reach[1], color=FAINT, linewidth=1.5, zorder=1)
    axes.plot(x, y, MARKERS[column], color=PALETTE[column], markersize=6)
    return x, y


def _draw_anchor(axes: Axes, label: str, accuracy: Numbers) -> None:
    y = float(np.median(accuracy))
    axes.axhline(y, color=INK, linewidth=1, linestyle=":")
    axes.text(1.0, y, label, fontsize=8, ha="right", va="bottom",
              transform=axes.get_yaxis_transform())  # fmt: skip


def push_per_expert(load: Numbers, push: Numbers) -> Figure:
    """Draw the load of each expert beside the gradient that the balancing loss gives it."""
    drawing, (left, right) = figure(7.6, 2.8, ncols=2)
    experts = range(len(load))
    left.bar(experts, load, color=PALETTE[0])
    left.axhline(1 / len(load), color=INK, linewidth=1, linestyle=":", label="fair share")
    left.set(xlabel="expert", ylabel="share of the choices", title="Load")
    left.legend(frameon=False)
    right.bar(experts, push, color=PALETTE[1], hatch=HATCHES[1], edgecolor="white")
    right.axhline(0, color=INK, linewidth=1)
    right.set(xlabel="expert", ylabel="- gradient, mean over tokens", title="Push on the logits")
    busy = int(np.argmax(load))
    return described(
        drawing,
        f"Left: the load of {len(load)} experts; expert {busy} has most. Right: the mean push of "
        "the balancing loss on their logits: downwards for those above the fair share, upwards "
        "for the others.",
    )


def over_time(
    lengths: Sequence[int], label: str, curves: Mapping[str, Sequence[Sequence[float | int]]]
) -> Figure:
    """Draw one quantity of the toy at several lengths of training, with its medians in words."""
    drawing = over_lengths(lengths, {label: curves})
    said = "; ".join(
        f"{name} {', '.join(f'{np.median(seeds):.3g}' for seeds in values)}"
        for name, values in curves.items()
    )
    steps = ", ".join(f"{length:,}" for length in lengths)
    return described(drawing, f"{label}, medians of the seeds after {steps} steps. {said}.")
