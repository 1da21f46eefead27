"""One comparison at several lengths of training: does the order stay?"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moe_teach.plots.style import INK, MARKERS, PALETTE, figure

Curves = Mapping[str, Sequence[Sequence[float | int]]]


def over_lengths(
    lengths: Sequence[int], panels: Mapping[str, Curves], *, logarithmic: Sequence[str] = ()
) -> Figure:
    """Draw a panel for each label: name -> one list of values, one for each seed, per length.

    Seeds are marks, the line joins their medians. A curve may end early: it then has fewer lists.
    The labels in `logarithmic` get such an axis.
    """
    drawing, axes = figure(3.6 * len(panels) + 2.8, 3.7, ncols=len(panels), squeeze=False)
    for ax, (label, curves) in zip(axes[0], panels.items(), strict=True):
        _draw(ax, lengths, curves)
        ax.set(ylabel=label, yscale="log" if label in logarithmic else "linear")
    known: dict[str, Line2D] = {}  # a curve may be in one panel only
    for ax in axes[0]:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            known.setdefault(name, handle)
    handles, names = list(known.values()), list(known)
    handles.append(Line2D([], [], linestyle="none", marker="o", color=INK, alpha=0.5, markersize=4))
    names.append("small: one seed (lines: medians)")
    # In one column beside the panels: a row of long names is wider than the figure.
    drawing.legend(handles, names, loc="outside right upper", fontsize=9)
    return drawing


def _draw(ax: Axes, lengths: Sequence[int], curves: Curves) -> None:
    for i, (name, values) in enumerate(curves.items()):
        style = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        # A little to the side, so that curves that agree can both be seen.
        places = np.asarray(lengths[: len(values)]) * 1.04 ** (i - len(curves) / 2)
        for place, seeds in zip(places, values, strict=True):
            ax.plot([place] * len(seeds), seeds, linestyle="none", markersize=4, alpha=0.5, **style)
        ax.plot(places, [np.median(seeds) for seeds in values], label=name, markersize=7, **style)
    ax.set(xscale="log", xticks=list(lengths), xlabel="training steps")
    # Neighbours that stand close would write into one another.
    is_close = any(later < 2 * earlier for earlier, later in pairwise(lengths))
    ax.set_xticklabels([f"{length:,}" for length in lengths], rotation=40 if is_close else 0)
    ax.minorticks_off()
