"""The figure of chapter 15: whom a step wakes, and what that costs beside a dense layer."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from moe_teach.plots.style import INK, MARKERS, colours, described, figure


def signature(
    sizes: Sequence[int],
    distinct: Mapping[str, Sequence[float]],
    wide: Sequence[int],
    over_dense: Mapping[str, Sequence[float]],
    measured: Sequence[float],
) -> Figure:
    """Draw distinct experts by tokens a step, and the time over a dense layer's.

    `distinct` has a line for each kind of traffic, over `sizes`; `over_dense` one for each machine,
    over `wide`; `measured` are the ratios found on this machine, over `sizes`.
    """
    drawing, (left, right) = figure(10.0, 3.8, ncols=2)
    for i, (name, counts) in enumerate(distinct.items()):
        style = {"marker": MARKERS[i], "ls": ("--", "-", "-", ":")[i % 4], "mfc": "none"}
        left.plot(sizes, counts, color=colours(i + 1)[i], label=name, **style)
    left.set(ylabel="distinct experts in a layer", title="whom a step wakes")
    for i, (name, ratios) in enumerate(over_dense.items()):
        style = {"marker": MARKERS[i], "ls": ("-", "--")[i % 2], "mfc": "none"}
        right.plot(wide, ratios, color=colours(i + 1)[i], label=name, **style)
    top = 1.45 * max(map(max, over_dense.values()))
    right.plot(sizes, [r if r < top else float("nan") for r in measured], color=INK, marker="x",
               ls="", label="this machine, measured")  # fmt: skip
    for n, ratio in zip(sizes, measured, strict=True):
        if ratio >= top:
            right.annotate(f"{ratio:.0f}", (n, 0.96 * top), ha="center", va="top", fontsize=8)
            right.plot([n], [0.98 * top], color=INK, marker="$\u2191$", ls="", clip_on=False)
    right.axhline(1, color=INK, lw=0.8)
    right.set(ylabel="time / time of a dense layer", title="what it costs")
    right.set_ylim(0, top)
    for axes, ticks in ((left, sizes), (right, wide[::3])):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xlabel("tokens in a step")
    left.legend(fontsize=8)
    right.legend(fontsize=8, loc="upper right")
    return described(drawing, _in_words(sizes, distinct, wide, over_dense))


def _in_words(
    sizes: Sequence[int],
    distinct: Mapping[str, Sequence[float]],
    wide: Sequence[int],
    over_dense: Mapping[str, Sequence[float]],
) -> str:
    ends = "; ".join(
        f"{name} from {counts[0]:.1f} to {counts[-1]:.1f}" for name, counts in distinct.items()
    )
    humps = "; ".join(
        f"at {name} {ratios[0]:.1f} with one token, {max(ratios):.1f} at the worst with "
        f"{wide[list(ratios).index(max(ratios))]}, {ratios[-1]:.1f} with {wide[-1]:,}"
        for name, ratios in over_dense.items()
    )
    return (
        f"Left, distinct experts of a layer from {sizes[0]} to {sizes[-1]} tokens a step: {ends}. "
        f"Right, the time of a layer of experts over that of a dense layer of the same active "
        f"size: {humps}."
    )
