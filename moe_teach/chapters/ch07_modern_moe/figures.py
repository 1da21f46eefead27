"""Figures about the layers of today: granularity, what was tried beside it, balance by scope."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from moe_teach.plots.horizons import Curves, over_lengths
from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

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
    a place on the axis, with a tick of their own; `yours` the reader's own run, by the names of
    `finer`; `full` is all there is to know.
    """
    drawing, (left, right) = figure(10.4, 4.2, ncols=2, width_ratios=(1, 1.2))
    places, beside = [2**i for i in range(len(finer))], beside or {}
    for axes in (left, right):
        _draw_seeds(axes, finer, places)
        for i, (name, (place, values)) in enumerate(beside.items(), start=1):
            style = {"color": PALETTE[i], "markersize": 6, "label": f"{name}, one mark per seed"}
            axes.plot([place] * len(values), values, MARKERS[i], **style)
        if yours:
            own = [(place, yours[n]) for place, n in zip(places, finer, strict=True) if n in yours]
            label = "your seed, trained here"
            axes.plot(*zip(*own, strict=True), "*", color=PALETTE[3], markersize=13, label=label)
        _name_ticks(axes, {**dict(zip(finer, places, strict=True)),
                           **{name: place for name, (place, _) in beside.items()}})  # fmt: skip
    for i, (name, values) in enumerate(anchors.items()):
        _draw_band(left, name, values, i)
    if full is not None:
        left.axhline(full, color=INK, linewidth=1, linestyle=":")
        left.text(1, full, "all there is", va="bottom", fontsize=9)
    left.set(ylim=(0, None), title="With the dense layers (bands: worst to best seed)")
    values = [v for seeds in finer.values() for v in seeds] + list((yours or {}).values())
    values += [v for _, seeds in beside.values() for v in seeds]
    room = 0.15 * (max(values) - min(values))
    right.set(ylim=(min(values) - room, max(values) + room), title="The top of it, magnified")
    right.set_ylabel("kilobits stored (axis does not start at 0)")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, fontsize=9)
    return described(drawing, _bits_in_words({**anchors, **finer}, beside))


def _bits_in_words(seeds: Seeds, beside: Mapping[str, tuple[Number, Sequence[Number]]]) -> str:
    every = {**seeds, **{name: values for name, (_, values) in beside.items()}}
    means = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in every.items())
    return f"Kilobits stored at equal FLOPs and parameters, means of the seeds: {means}."


def _draw_seeds(axes: Axes, finer: Seeds, places: Sequence[int]) -> None:
    means = [float(np.mean(values)) for values in finer.values()]
    axes.plot(places, means, color=PALETTE[0], label="mean of the seeds")
    for place, values in zip(places, finer.values(), strict=True):
        label = "seeds, and their range" if place == 1 else None
        seeds = np.full(len(values), place)
        axes.plot(seeds, values, "o", color=PALETTE[0], markersize=4, label=label)
        axes.vlines(place, min(values), max(values), color=PALETTE[0], linewidth=4, alpha=0.3)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0.8, places[-1] * 1.25)
    axes.set(xlabel="experts and choices, at equal FLOPs and parameters", ylabel="kilobits stored")


def _name_ticks(axes: Axes, places: Mapping[str, Number]) -> None:
    words = [name.replace(" top", "\ntop").replace(" + ", "\n+ ") for name in places]
    axes.set_xticks(list(places.values()), words, fontsize=9)


def _draw_band(axes: Axes, name: str, values: Sequence[Number], index: int) -> None:
    low, high = min(values), max(values)
    axes.axhspan(low, high, facecolor=FAINT, edgecolor=INK, hatch=HATCHES[index + 1], linewidth=0)
    axes.text(1, low - 0.6, name, va="top", fontsize=9)


def designs(
    own: Seeds, before: Mapping[str, Number], groups: Sequence[int], full: Number
) -> Figure:
    """Draw one row per design: kilobits of every seed at its own rate, and `before` at another.

    `before` holds means by name; `groups` says after how many rows a line is drawn; rows are listed
    from the top; `full` is all there is to know.
    """
    drawing, axes = figure(8.6, 0.3 * len(own) + 1.6)
    for row, (name, values) in enumerate(own.items()):
        label = "a rate of its own, one mark per seed" if row == 0 else None
        spots = np.full(len(values), row)
        axes.plot(values, spots, "o", color=PALETTE[0], markersize=5, alpha=0.8, label=label)
        if name in before:
            label = "the rate of 0.01, mean of the seeds" if row == 0 else None
            style = {"color": PALETTE[3], "markerfacecolor": "none", "markersize": 7}
            axes.plot(before[name], row, "D", label=label, **style)
        axes.text(full + 2, row, f"{np.mean(values):.1f}", va="center", fontsize=9)
    for row in groups:
        axes.axhline(row - 0.5, color=FAINT, linewidth=1)
    axes.axvline(full, color=INK, linewidth=1, linestyle=":", label="all there is")
    axes.set_yticks(range(len(own)), list(own))
    axes.invert_yaxis()
    axes.set(xlim=(0, full + 12), xlabel="kilobits stored in 900 steps (number: mean at own rate)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, -0.6 / len(own) - 0.06), ncols=3,
                fontsize=9)  # fmt: skip
    told = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in own.items())
    was = ", ".join(f"{name} {value:.1f}" for name, value in before.items())
    return described(
        drawing,
        f"Kilobits in 900 steps by design. At own rates: {told}. At the rate of 0.01: {was}.",
    )


def lengths(steps: Sequence[int], bits: Curves, full: Number) -> Figure:
    """Draw kilobits against the length of training: name -> one list of seeds for each length."""
    drawing = over_lengths(steps, {f"kilobits stored, of {full:.1f}": bits})
    rows = (
        f"{name} {', '.join(f'{np.median(seeds):.1f}' for seeds in values)}"
        for name, values in bits.items()
    )
    when = ", ".join(f"{length:,}" for length in steps)
    return described(drawing, f"Kilobits, medians after {when} steps: {'; '.join(rows)}.")


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
        left.axhline(level, color=INK, linewidth=1.2, linestyle=style, label=name)
    left.set_xticks(range(table.shape[1]))
    left.set(ylim=(0, None), xlabel="layer", ylabel="bits about the domain (2 is everything)")
    left.set_title("What a choice of expert tells (lines: range of the seeds)")
    _legend_below(left)
    _draw_differences(right, losses, reference)
    told = "; ".join(
        f"{name} {', '.join(f'{bit:.2f}' for bit in np.mean(rows, axis=0))}"
        for name, rows in bits.items()
    )
    words = f"Left: bits that a choice tells about the domain, layer by layer: {told}. "
    return described(drawing, f"{words}Right: losses minus that of {reference}, seed by seed.")


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=9)


def _draw_differences(axes: Axes, losses: Seeds, reference: str) -> None:
    others = [name for name in losses if name != reference]
    for row, name in enumerate(others):
        gaps = np.asarray(losses[name]) - np.asarray(losses[reference])
        index = list(losses).index(name)
        axes.plot(gaps, np.full(len(gaps), row), MARKERS[index], color=PALETTE[index], markersize=8)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvspan(-0.01, 0.01, color=FAINT, linewidth=0)
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
        style = {"facecolor": "none", "hatch": "", "edgecolor": INK}
        if shared:
            style = {"facecolor": PALETTE[1], "hatch": "...", "edgecolor": "black"}
        elif works:
            style = {"facecolor": PALETTE[5], "hatch": "///", "edgecolor": "black"}
        axes.add_patch(Rectangle((place * d_ff, 0), d_ff - gap, 1, linewidth=0.7, **style))
    axes.set(xlim=(-0.01 * total, 1.5 * total), ylim=(-0.35, 1.1), yticks=[], xticks=[])
    legend = "hatched: chosen for one token   dotted: always on   empty: at rest"
    axes.text(0, -0.12, legend, va="top", fontsize=9)
    axes.text(1.03 * total, 1.0, "\n".join(facts), va="top", fontsize=10, linespacing=1.35)
    axes.spines[:].set_visible(False)
    said = f"A row of {n_experts + n_shared} experts, each as wide as it is: {n_shared} always on, "
    return described(drawing, f"{said}{top_k} chosen for one token, the rest at rest.")
