"""The figures of lesson 13: the same runs over three axes, what was chosen, pairs by how."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_teach.plots.style import HATCHES, INK, MARKERS, PALETTE, described, figure
from moe_teach.train.experiment import Cell

Runs = Mapping[str, Sequence[Cell]]
AXES = {
    "steps": "training steps",
    "flops": "FLOPs, scoring included ($10^9$)",
    "seconds": "seconds of processor time",
}


def over_axes(
    runs: Runs,
    key: str,
    label: str,
    axes: Sequence[str] = ("steps", "flops", "seconds"),
    live: Mapping[str, Cell] | None = None,
) -> Figure:
    """Draw the same runs once for each axis: a thin line a seed, a thick one for their median.

    Args:
        runs: name -> its cells, one for each seed.
        key: what was measured, "loss" or "matched".
        label: of the vertical axis.
        axes: which, of "steps", "flops" and "seconds".
        live: the reader's own runs by name, drawn dotted.
    """
    drawing, panels = figure(
        3.5 * len(axes) + 0.6, 3.6, ncols=len(axes), sharey=True, squeeze=False
    )
    for panel, axis in zip(panels[0], axes, strict=True):
        for i, (name, cells) in enumerate(runs.items()):
            _draw(panel, axis, key, cells, i, name)
            if live and name in live:
                mine = live[name]
                panel.plot(*_points(mine, axis, key), ":", color=PALETTE[i], linewidth=3)
        panel.set(xlabel=AXES[axis])
    panels[0][0].set_ylabel(label)
    panels[0][0].legend(fontsize=9)
    ends = "; ".join(
        f"{name} ends at {np.median([cell.result['final'] for cell in cells]):.2f}"
        for name, cells in runs.items()
    )
    said = "steps" if len(axes) == 1 else ", then over ".join(axes)
    return described(drawing, f"{label} of the same runs over {said}. {ends}.")


def _draw(panel: Axes, axis: str, key: str, cells: Sequence[Cell], i: int, name: str) -> None:
    lines = [_points(cell, axis, key) for cell in cells]
    for x, y in lines:
        panel.plot(x, y, color=PALETTE[i], linewidth=0.8, alpha=0.5)
    middle = [np.median(part, axis=0) for part in zip(*lines, strict=True)]
    panel.plot(*middle, color=PALETTE[i], marker=MARKERS[i], markersize=5, label=name)


def _points(cell: Cell, axis: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    found = cell.result
    steps = np.asarray(found["steps"], dtype=float)
    x = {
        "steps": steps,
        "flops": steps * found["flops_per_step"] / 1e9,
        "seconds": np.asarray(found["cpu_seconds"], dtype=float),
    }[axis]
    return x, np.asarray(found[key], dtype=float)


def shares(chosen: Mapping[str, Sequence[float]], there: float, label: str) -> Figure:
    """Draw a bar for each rule: the share of good rows among those it chose, a mark a seed.

    Args:
        chosen: rule -> that share, for each seed.
        there: the share of good rows in the stream.
        label: of the axis.
    """
    drawing, axes = figure(6.4, 0.9 + 0.42 * len(chosen))
    for i, values in enumerate(chosen.values()):
        mean = float(np.mean(values))
        look = {"color": PALETTE[i % 7], "hatch": HATCHES[i % len(HATCHES)], "edgecolor": "white"}
        axes.barh(i, mean, height=0.62, **look)
        axes.plot(values, [i] * len(values), "o", color=INK, markersize=4)
        axes.text(1.02, i, f"{mean:.0%}", va="center", color=INK)
    axes.axvline(there, color=INK, linestyle="--")
    axes.set(yticks=range(len(chosen)), xlim=(0, 1), xlabel=label)
    axes.set_yticklabels(list(chosen))
    axes.invert_yaxis()
    said = "; ".join(f"{name} {np.mean(values):.0%}" for name, values in chosen.items())
    return described(drawing, f"{label}; the stream has {there:.0%}. {said}.")
