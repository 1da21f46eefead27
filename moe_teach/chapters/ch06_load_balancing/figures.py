"""Figures about the balance of a router: load over training, its price, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_teach.plots.style import HATCHES, MARKERS, PALETTE, figure

Numbers = Sequence[float] | Sequence[int] | np.ndarray
BANDS = (*PALETTE[:7], "#999999")  # black is for outlines; a large black area hides its neighbours
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
    return drawing


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
    return drawing


def _draw_price(axes: Axes, price: Price, column: int) -> tuple[float, float]:
    x, y = float(np.median(price.imbalance)), float(np.median(price.accuracy))
    reach = [
        [[middle - min(values)], [max(values) - middle]]
        for middle, values in ((x, price.imbalance), (y, price.accuracy))
    ]
    axes.errorbar(x, y, xerr=reach[0], yerr=reach[1], color="0.75", linewidth=0.8, zorder=1)
    axes.plot(x, y, MARKERS[column], color=PALETTE[column], markersize=6)
    return x, y


def _draw_anchor(axes: Axes, label: str, accuracy: Numbers) -> None:
    y = float(np.median(accuracy))
    axes.axhline(y, color="0.55", linewidth=1, linestyle=":")
    axes.text(1.0, y, label, fontsize=8, color="0.3", ha="right", va="bottom",
              transform=axes.get_yaxis_transform())  # fmt: skip


@dataclass(frozen=True)
class Course:
    """How one way of balancing went: a value for each seed at each of `steps`, (seeds, steps).

    `losses` are the validation losses at the end, one for each seed; `live` are the reader's own
    values and loss, where there are any.
    """

    steps: Numbers
    dead: np.ndarray
    violation: np.ndarray
    losses: Numbers
    live: tuple[Numbers, Numbers, Numbers] | None = None  # steps, dead, violation


def utilisation(courses: Mapping[str, Course], n_experts: int) -> Figure:
    """Draw dead experts and MaxVio over training beside the loss at the end.

    Thick lines are means over the seeds, bands the full range over them, dashed lines the reader's
    own run. `n_experts` counts all experts of all layers.
    """
    drawing, (left, middle, right) = figure(10.4, 3.9, ncols=3, width_ratios=(1, 1, 0.9))
    for i, (name, course) in enumerate(courses.items()):
        for axes, table, own in ((left, course.dead, 1), (middle, course.violation, 2)):
            _draw_course(axes, course, np.asarray(table, dtype=float), own, i, name)
        spread = np.linspace(-0.18, 0.18, len(course.losses))
        right.plot(course.losses, i + spread, MARKERS[i], color=PALETTE[i], markersize=5)
        right.vlines(float(np.mean(course.losses)), i - 0.33, i + 0.33, color=PALETTE[i])
    left.set(xlabel="training step", ylabel=f"dead experts, of {n_experts}", title="Not in use")
    middle.set(xlabel="training step", ylabel="MaxVio, mean of the layers", title="Overworked")
    left.set_ylim(-0.5, n_experts)
    right.set_yticks(range(len(courses)), list(courses))
    right.invert_yaxis()
    right.set(xlabel="nats per byte on held-back text", title="The loss, each seed")
    drawing.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    return drawing


def _draw_course(
    axes: Axes, course: Course, table: np.ndarray, own: int, i: int, name: str
) -> None:
    style = {"color": PALETTE[i], "marker": MARKERS[i], "markersize": 4}
    axes.fill_between(
        course.steps, table.min(axis=0), table.max(axis=0), color=PALETTE[i], alpha=0.15
    )
    axes.plot(course.steps, table.mean(axis=0), label=name, **style)
    if course.live is not None:
        axes.plot(course.live[0], course.live[own], "--", color=PALETTE[i], linewidth=1.2)


def likeness_and_dead(
    steps: Numbers, likeness: Mapping[str, np.ndarray], dead: Mapping[str, np.ndarray]
) -> Figure:
    """Draw how alike tokens look to the routers above how many experts are dead.

    Both hold a table for each method, (seeds, steps): thin lines are seeds, thick ones means.
    """
    drawing, panels = figure(7.4, 4.6, nrows=2, sharex=True)
    for axes, tables in zip(panels, (likeness, dead), strict=True):
        for i, (name, table) in enumerate(tables.items()):
            axes.plot(steps, np.asarray(table).T, color=PALETTE[i], linewidth=0.6, alpha=0.6)
            mean = np.mean(table, axis=0)
            style = {"color": PALETTE[i], "marker": MARKERS[i], "markersize": 5}
            axes.plot(steps, mean, label=name, **style)
    panels[0].set(ylabel="cosine of two tokens", ylim=(0, 1.02), title="How alike tokens look")
    panels[1].set(xlabel="training step", ylabel="dead experts", ylim=(0, None))
    panels[0].legend(frameon=False, loc="upper right")
    return drawing


def push_per_expert(load: Numbers, push: Numbers) -> Figure:
    """Draw the load of each expert beside the gradient that the balancing loss gives it."""
    drawing, (left, right) = figure(7.6, 2.8, ncols=2)
    experts = range(len(load))
    left.bar(experts, load, color=PALETTE[0])
    left.axhline(1 / len(load), color="0.3", linewidth=1, linestyle=":", label="fair share")
    left.set(xlabel="expert", ylabel="share of the choices", title="Load")
    left.legend(frameon=False)
    right.bar(experts, push, color=PALETTE[1], hatch=HATCHES[1], edgecolor="white")
    right.axhline(0, color="0.3", linewidth=1)
    right.set(xlabel="expert", ylabel="- gradient, mean over tokens", title="Push on the logits")
    return drawing


YOUR_BALANCE = (
    "The share of every expert over 250 steps of training, in three panels. Without a cure one or "
    "two experts take nearly all tokens; with the balancing loss and with the bias the shares are "
    "spread over the experts."
)
