"""A picture of the block that exercise 5.1 asks for."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from moe_teach.plots.style import FAINT, INK, PALETTE, described, figure


def block_diagram() -> Figure:
    """Draw a transformer block as a stream to which two branches add."""
    drawing, axes = figure(7.6, 3.0)
    axes.set(xlim=(0, 10), ylim=(-0.6, 2.6), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.annotate("", (9.9, 0), (0.1, 0), arrowprops={"arrowstyle": "->", "color": INK, "lw": 2.4})
    axes.text(0.1, -0.42, "the stream: one vector for each token")
    branches = ((0.9, "attention", PALETTE[5], ""), (5.4, "dense net\nor experts", PALETTE[1], "E"))
    for left, name, colour, has_record in branches:
        _box(axes, left + 0.2, 0.9, "norm", FAINT)
        _box(axes, left + 1.9, 0.9, name, colour)
        arrow = {"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (left + 0.8, 0.9), (left + 0.8, 0), arrowprops=arrow)
        axes.annotate("", (left + 1.9, 1.25), (left + 1.4, 1.25), arrowprops=arrow)
        axes.annotate("", (left + 2.7, 0.22), (left + 2.7, 0.9), arrowprops=arrow)
        axes.plot(left + 2.7, 0, "o", color=PALETTE[2], markersize=17)
        axes.text(left + 2.7, -0.01, "+", ha="center", va="center", color="0.1", fontsize=14)
        if has_record:
            axes.annotate("", (left + 2.7, 2.1), (left + 2.7, 1.6), arrowprops=arrow)
            axes.text(left + 2.7, 2.2, "routing record, for losses and plots", ha="center")
    return described(
        drawing,
        "A transformer block. A stream of vectors runs from left to right. Attention reads it "
        "through a norm and adds its result to it; then the dense net or the experts do the same. "
        "From the experts a routing record leaves the block beside the stream.",
    )


def _box(axes: Axes, left: float, bottom: float, name: str, colour: object) -> None:
    width = 1.2 if name == "norm" else 1.6
    style = {"boxstyle": "round,pad=0.02", "facecolor": colour, "edgecolor": INK}
    axes.add_patch(FancyBboxPatch((left, bottom), width, 0.7, **style))
    on_colour = {} if name == "norm" else {"color": "0.1"}  # not the page's ink
    axes.text(left + width / 2, bottom + 0.35, name, ha="center", va="center", **on_colour)
