"""Figures about the layers of today: granularity, what was tried beside it, balance by scope."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from moe_teach.plots.style import HATCHES, MARKERS, PALETTE, figure

Number = float | int
Numbers = Sequence[Number] | np.ndarray
Seeds = Mapping[str, Sequence[Number]]  # a value for each seed, by name


def granularity(
    finer: Seeds,
    anchors: Seeds,
    beside: Mapping[str, tuple[Number, Sequence[Number]]] | None = None,
    yours: Mapping[str, Number] | None = None,
    full: Number | None = None,
) -> Figure:
    """Draw bits against granularity, all of it on the left and the top magnified on the right.

    `finer` holds kilobits for 1, 2, 4, ... parts per expert, in this order; `anchors` those of
    dense layers, drawn as bands from the worst to the best seed; `beside` adds other designs at
    their place on the axis; `yours` the reader's own run, by the names of `finer`; `full` is all
    there is to know.
    """
    drawing, (left, right) = figure(10.0, 4.1, ncols=2, width_ratios=(1, 1.15))
    places = [2**i for i in range(len(finer))]
    for axes in (left, right):
        _draw_seeds(axes, finer, places)
        for i, (name, (place, values)) in enumerate((beside or {}).items(), start=1):
            spots = place * np.geomspace(1.16, 1.30, len(values))
            axes.plot(spots, values, MARKERS[i], color=PALETTE[i], markersize=6, label=name)
        if yours:
            own = [(place, yours[n]) for place, n in zip(places, finer, strict=True) if n in yours]
            label = "your seed, trained here"
            axes.plot(*zip(*own, strict=True), "*", color="black", markersize=13, label=label)
    for i, (name, values) in enumerate(anchors.items()):
        _draw_band(left, name, values, i)
    if full is not None:
        left.axhline(full, color="0.5", linewidth=1, linestyle=":")
        left.text(1, full, "all there is", va="bottom", fontsize=9, color="0.3")
    left.set(ylim=(0, None), title="With the dense layers")
    values = [v for seeds in finer.values() for v in seeds] + list((yours or {}).values())
    values += [v for _, seeds in (beside or {}).values() for v in seeds]
    room = 0.15 * (max(values) - min(values))
    right.set(ylim=(min(values) - room, max(values) + room), title="The top of it, magnified")
    right.set_ylabel("kilobits stored (axis does not start at 0)")
    right.legend(loc="lower right", fontsize=9)
    return drawing


def _draw_seeds(axes: Axes, finer: Seeds, places: Sequence[int]) -> None:
    means = [float(np.mean(values)) for values in finer.values()]
    axes.plot(places, means, color=PALETTE[0], label="mean of the seeds")
    for place, values in zip(places, finer.values(), strict=True):
        axes.plot(np.full(len(values), place), values, "o", color=PALETTE[0], markersize=4)
        axes.vlines(place, min(values), max(values), color=PALETTE[0], linewidth=4, alpha=0.3)
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, list(finer))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0.8, places[-1] * 1.45)
    axes.set(xlabel="experts and choices, at equal FLOPs and parameters", ylabel="kilobits stored")


def _draw_band(axes: Axes, name: str, values: Sequence[Number], index: int) -> None:
    low, high = min(values), max(values)
    axes.axhspan(low, high, color="0.6", alpha=0.45, hatch=HATCHES[index + 1], linewidth=0)
    axes.text(1, low - 0.6, name, va="top", fontsize=9)


def designs(kilobits: Seeds, groups: Sequence[int], reference: str) -> Figure:
    """Draw one row per design and one mark per seed, as a share of the `reference` design.

    `groups` says after how many rows a line is drawn; rows are listed from the top.
    """
    base = float(np.mean(kilobits[reference]))
    drawing, axes = figure(8.6, 0.3 * len(kilobits) + 1.2)
    edge = max(100.0, *(100 * max(values) / base for values in kilobits.values())) + 3
    kind = np.searchsorted(np.asarray(groups), np.arange(len(kilobits)), side="right")
    for row, (values, family) in enumerate(zip(kilobits.values(), kind, strict=True)):
        shares = 100 * np.asarray(values) / base
        mark, colour = MARKERS[family % len(MARKERS)], PALETTE[family % len(PALETTE)]
        axes.plot(shares, np.full(len(shares), row), mark, color=colour, markersize=6, alpha=0.8)
        axes.text(edge, row, f"{shares.mean():.1f} %", va="center", fontsize=9)
    for row in groups:
        axes.axhline(row - 0.5, color="0.8", linewidth=1)
    axes.axvline(100, color="0.5", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(kilobits)), list(kilobits))
    axes.invert_yaxis()
    axes.set(
        xlim=(0, edge + 14), xlabel=f"bits stored, in percent of {reference} (one mark per seed)"
    )
    axes.set_xticks(range(0, 101, 20))
    return drawing


def scopes(
    bits: Mapping[str, Sequence[Sequence[Number]]],
    chance: Mapping[str, Number],
    losses: Seeds,
    reference: str,
) -> Figure:
    """Draw what a choice tells about the domain, layer by layer, and the loss of each seed.

    `bits` holds for each way of balancing one row of layers per seed; `chance` are levels that
    mean nothing was learned; `losses` are compared with `reference`, seed by seed.
    """
    drawing, (left, right) = figure(10.0, 4.0, ncols=2, width_ratios=(1.25, 1))
    for i, (name, rows) in enumerate(bits.items()):
        table = np.asarray(rows, dtype=float)
        layers = np.arange(table.shape[1]) + 0.06 * (i - len(bits) / 2)
        left.plot(layers, table.mean(axis=0), color=PALETTE[i], marker=MARKERS[i], label=name)
        left.vlines(layers, table.min(axis=0), table.max(axis=0), color=PALETTE[i], linewidth=1)
    for (name, level), style in zip(chance.items(), ("--", ":"), strict=False):
        left.axhline(level, color="0.4", linewidth=1.2, linestyle=style, label=name)
    left.set_xticks(range(table.shape[1]))
    left.set(ylim=(0, None), xlabel="layer", ylabel="bits about the domain (2 is everything)")
    left.set_title("What a choice of expert tells")
    _legend_below(left)
    _draw_differences(right, losses, reference)
    return drawing


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=9)


def _draw_differences(axes: Axes, losses: Seeds, reference: str) -> None:
    others = [name for name in losses if name != reference]
    for row, name in enumerate(others):
        gaps = np.asarray(losses[name]) - np.asarray(losses[reference])
        index = list(losses).index(name)
        axes.plot(gaps, np.full(len(gaps), row), MARKERS[index], color=PALETTE[index], markersize=8)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.axvspan(-0.01, 0.01, color="0.85")
    axes.set_yticks(range(len(others)), others)
    axes.set_ylim(len(others) - 0.4, -0.6)
    widest = max(0.02, np.ceil(100 * max(abs(x) for x in axes.get_xlim())) / 100)
    axes.set(
        xlim=(-widest, widest),
        xticks=np.round(np.linspace(-widest, widest, 5), 3),
        xlabel=f"loss minus that of {reference}\n(nats per byte, same seed; grey: cannot be told)",
        title="Right is worse",
    )


def layer_picture(
    n_experts: int, top_k: int, n_shared: int, d_ff: int, facts: Sequence[str] = ()
) -> Figure:
    """Draw a layer as a row of experts, each as wide as it is: who works for one token, who rests.

    `n_experts` and `top_k` count the routed experts; `facts` are lines of text to the right.
    """
    drawing, axes = figure(9.0, 2.0)
    chosen = {round((i + 0.5) * n_experts / top_k - 0.5) for i in range(top_k)}
    while len(chosen) < top_k:  # rounding can meet
        chosen.add(next(e for e in range(n_experts) if e not in chosen))
    total = (n_experts + n_shared) * d_ff
    gap = min(0.2 * d_ff, total / 400)
    for place in range(n_experts + n_shared):
        shared, works = place < n_shared, place - n_shared in chosen
        style = {"facecolor": "white", "hatch": "", "edgecolor": "0.45"}
        if shared:
            style = {"facecolor": PALETTE[1], "hatch": "...", "edgecolor": "black"}
        elif works:
            style = {"facecolor": PALETTE[5], "hatch": "///", "edgecolor": "black"}
        axes.add_patch(Rectangle((place * d_ff, 0), d_ff - gap, 1, linewidth=0.7, **style))
    axes.set(xlim=(-0.01 * total, 1.5 * total), ylim=(-0.35, 1.1), yticks=[], xticks=[])
    legend = "hatched: chosen for one token   dotted: always on   white: at rest"
    axes.text(0, -0.12, legend, va="top", fontsize=9)
    axes.text(1.03 * total, 1.0, "\n".join(facts), va="top", fontsize=10, linespacing=1.35)
    axes.spines[:].set_visible(False)
    return drawing
