"""Figures of chapter 01: what sparsity costs in memory, in time and in money.

The drawing functions take plain numbers; they know no model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from moe_teach.plots.style import HATCHES, INK, MARKERS, PALETTE, described, figure

Curve = Sequence[float] | np.ndarray


def bars_figure(names: Sequence[str], panels: Mapping[str, Sequence[float]]) -> Figure:
    """One small bar chart for each quantity in `panels` (its key is the axis label with unit)."""
    drawing, all_axes = figure(3.2 * len(panels), 3.2, ncols=len(panels), squeeze=False)
    for axes, (label, values) in zip(all_axes[0], panels.items(), strict=True):
        for number, value in enumerate(values):
            axes.bar(number, value, color=PALETTE[number], hatch=HATCHES[number], edgecolor="white")
            axes.text(number, value, f"{value:.3g}", ha="center", va="bottom", fontsize=9)
        axes.set(xticks=range(len(names)), ylabel=label)
        axes.set_xticklabels(names, fontsize=8)
        axes.margins(y=0.12)
    flat = [name.replace("\n", " ") for name in names]
    said = "; ".join(
        f"{label}: " + ", ".join(f"{v:.3g} for {n}" for n, v in zip(flat, values, strict=True))
        for label, values in panels.items()
    )
    return described(drawing, f"Bar charts. {said}.")


def lines_figure(
    batches: Sequence[int],
    panels: Mapping[str, Mapping[str, Curve]],
    titles: Sequence[str],
    is_log: bool = False,
) -> Figure:
    """Curves over the batch size (log axis): one panel a y label, one marked line a name.

    `is_log` draws the values on a logarithmic axis as well.
    """
    drawing, all_axes = figure(5.2 * len(panels), 3.6, ncols=len(panels), squeeze=False)
    for axes, title, (label, curves) in zip(all_axes[0], titles, panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            axes.plot(
                batches,
                values,
                marker=MARKERS[number],
                ms=max(8 - 2 * number, 4),
                color=PALETTE[number],
                label=name,
            )  # fmt: skip  (smaller marks on top, so that equal curves both show)
        axes.set(xlabel="tokens decoded together (batch)", ylabel=label, title=title)
        axes.set_xscale("log", base=2)
        if is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(fontsize=8)
    said = (
        f"{title}, {label}: " + ", ".join(_course(batches, *curve) for curve in curves.items())
        for title, (label, curves) in zip(titles, panels.items(), strict=True)
    )
    return described(drawing, "Curves over the batch size. " + "; ".join(said) + ".")


def _course(batches: Sequence[int], name: str, values: Curve) -> str:
    """Tell one curve in words: its ends, and its highest and lowest point in between."""
    ends = {values[0], values[-1]}
    turns = sorted(
        at for at in (int(np.argmax(values)), int(np.argmin(values))) if values[at] not in ends
    )
    first, *over, last = [
        f"{values[at]:.3g} at {batches[at]}" for at in (0, *turns, len(values) - 1)
    ]
    return " ".join((f"{name} from {first}", *(f"over {place}" for place in over), f"to {last}"))


def break_even_figure(hours: Curve, usd: Mapping[str, Curve], meets: Mapping[str, float]) -> Figure:
    """What each way has cost after so many hours; `meets` marks where a name meets the first."""
    drawing, axes = figure(7.0, 3.8)
    for number, (name, amounts) in enumerate(usd.items()):
        axes.plot(hours, np.asarray(amounts) / 1000, color=PALETTE[number], label=name,
                  linestyle=("-", "--", "-.", ":")[number % 4])  # fmt: skip
    first = next(iter(usd.values()))
    axes.plot([], [], MARKERS[0], color=INK, ms=9, label="here both have cost the same")
    for number, name in enumerate(usd):
        if name in meets and meets[name] <= max(hours):
            height = np.interp(meets[name], hours, first) / 1000
            axes.plot(meets[name], height, MARKERS[0], color=PALETTE[number], ms=9)
            axes.annotate(
                f"{meets[name]:,.0f} h", (meets[name], height), (6, -13),
                textcoords="offset points", fontsize=9,
            )  # fmt: skip
    axes.set(
        xlabel="hours on the calendar since the purchase", ylabel="paid so far (thousand USD)",
        title="Buying against renting", ylim=(0, None),
    )  # fmt: skip
    axes.legend(fontsize=9, loc="upper left")
    met = ", ".join(
        f"{name} {'never' if hour == float('inf') else f'after {hour:,.0f} hours'}"
        for name, hour in meets.items()
    )
    return described(drawing, f"Cost over the hours since the purchase. Buying meets {met}.")
