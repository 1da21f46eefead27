"""Figures about one router: who gets gradient, how sharp the gates are, where choices jump."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from moe_teach.plots.style import FAINT, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float] | Sequence[int] | np.ndarray

DUST = 1e-5  # gradients this far below the largest one are rounding, in float32


def audit_and_entropy(
    norms: Mapping[str, Numbers],
    ks: Sequence[int],
    temperatures: Numbers,
    entropies: Mapping[str, Numbers],
) -> Figure:
    """Draw the gradient audit beside the entropy of the gates against temperature.

    `norms` holds, for each gate rule, the norm of the router's gradient for each of `ks`;
    `entropies` holds, for each curve, the entropy relative to its maximum (0 to 1) for each of
    `temperatures`, which are drawn on a logarithmic axis.
    """
    drawing, (left, right) = figure(10.0, 3.9, ncols=2, width_ratios=(1.25, 1))
    _draw_audit(left, norms, ks)
    for i, (name, values) in enumerate(entropies.items()):
        right.plot(
            temperatures, values, color=PALETTE[i], marker=MARKERS[i], markersize=4, label=name
        )
    right.axvline(1.0, color=INK, linewidth=1, linestyle=":", label="logits as they are")
    right.set(
        xscale="log",
        ylim=(-0.03, 1.03),
        xlabel="temperature (logits are divided by it)",
        ylabel="entropy / its maximum",
        title="Entropy of the gates",
    )
    right.legend(loc="lower right")
    return described(drawing, _audit_in_words(norms, ks))


def _audit_in_words(norms: Mapping[str, Numbers], ks: Sequence[int]) -> str:
    largest = max(float(np.max(row)) for row in norms.values())
    dead = [
        f"{name} at k = {k}"
        for name, row in norms.items()
        for k, norm in zip(ks, row, strict=True)
        if not norm > DUST * largest
    ]
    return (
        "Left: a table of gradient norms, gate rule by k. No gradient but rounding reaches "
        f"{'; '.join(dead) or 'nobody'}. Right: the entropy of the gates rises from near 0 to 1 "
        "with temperature, for each k."
    )


def audit_label(norm: float, largest: float) -> str:
    """Name a gradient: an exact zero, rounding dust, or its size."""
    if norm == 0:
        return "0\nexactly"
    if norm < DUST * largest:
        return f"{norm:.0e}\nrounding"
    return f"{norm:.2g}"


def _draw_audit(axes: Axes, norms: Mapping[str, Numbers], ks: Sequence[int]) -> None:
    """Colour tells living from dead and nothing else: how large a gradient is, is no verdict."""
    table = np.array([list(row) for row in norms.values()], dtype=float)  # (rules, ks)
    largest = float(table.max()) or 1.0  # a dead router still gets a picture
    for (row, column), norm in np.ndenumerate(table):
        text = audit_label(float(norm), largest)
        if norm > DUST * largest:
            _draw_living(axes, column, row, text)
        else:
            _draw_dead(axes, column, row, text)
    axes.set(
        title="Does a task gradient reach the router? (its norm)",
        xlabel="experts per token, k",
        xlim=(-0.5, len(ks) - 0.5),
        ylim=(len(norms) - 0.5, -0.5),
    )
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_yticks(range(len(norms)), list(norms))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    kinds = [
        Patch(facecolor=PALETTE[0], alpha=0.16, label="a gradient arrives"),
        Patch(
            facecolor="none",
            edgecolor=INK,
            hatch="///",
            linewidth=0,
            label="none, or rounding only",
        ),
    ]
    axes.legend(handles=kinds, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _draw_living(axes: Axes, column: int, row: int, text: str) -> None:
    corner = (column - 0.47, row - 0.47)
    axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=PALETTE[0], alpha=0.16, linewidth=0))
    axes.text(column, row, text, ha="center", va="center")


def _draw_dead(axes: Axes, column: int, row: int, text: str) -> None:
    corner = (column - 0.47, row - 0.47)
    axes.add_patch(
        Rectangle(corner, 0.94, 0.94, hatch="///", facecolor="none", edgecolor=FAINT, linewidth=0)
    )
    axes.text(column, row, text, ha="center", va="center", fontsize=9, weight="bold")


def training_by_rule(losses: Mapping[str, Numbers]) -> Figure:
    """Draw the final loss of every seed, one column per gate rule, the median as a bar."""
    drawing, axes = figure(6.4, 3.3)
    for i, values in enumerate(losses.values()):
        spread = np.linspace(-0.16, 0.16, len(values))
        axes.plot(i + spread, values, MARKERS[i], color=PALETTE[i], markersize=7)
        axes.hlines(float(np.median(values)), i - 0.3, i + 0.3, color=PALETTE[i])
    axes.set_xticks(range(len(losses)), list(losses))
    axes.set(
        ylabel="final loss / variance of the target",
        ylim=(0, 1.1 * max(float(np.max(values)) for values in losses.values())),
        title="One mark per seed; the bar is the median",
    )
    ends = ", ".join(
        f"{name.replace(chr(10), ' ')} {np.median(values):.2f}" for name, values in losses.items()
    )
    return described(
        drawing, f"Final losses of top-1 layers, one mark per seed; their medians: {ends}."
    )


def walk_across_a_tie(
    positions: Numbers,
    outputs: Mapping[str, Numbers],
    margins: Numbers,
) -> Figure:
    """Draw layer outputs along a straight walk of the input, above the margin of the choice."""
    drawing, (top, bottom) = figure(7.0, 4.2, nrows=2, sharex=True, height_ratios=(2, 1))
    for i, (name, values) in enumerate(outputs.items()):
        top.plot(positions, values, color=PALETTE[i], linestyle=("-", "--", ":")[i % 3], label=name)
    top.set(ylabel="one output coordinate", title="A small step of the input, a jump of the output")
    top.legend(loc="best")
    bottom.plot(positions, margins, color=PALETTE[3])
    bottom.fill_between(positions, margins, color=PALETTE[3], alpha=0.25)
    bottom.set(
        xlabel="position of the token on its walk", ylabel="margin\n(logits)", ylim=(0, None)
    )
    return described(
        drawing,
        "Above: along a straight walk of its input, the output of a layer that chooses jumps at "
        "several places, and with all experts it is smooth. Below: the margin of the choice falls "
        "to zero exactly where the output jumps.",
    )
