"""The chart sheet of a patient in the bug clinic, next to the healthy layer's findings."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.plots.style import PALETTE, figure

PATIENT = PALETTE[3]
ZERO = 1e-3  # where an exact zero, or rounding, is drawn on a logarithmic axis
_HEALTHY = {"marker": "D", "markersize": 5, "color": "black", "fillstyle": "none"}


def chart_sheet(name: str, patient: Chart, healthy: Chart) -> Figure:
    """Draw all findings of one patient; hollow black diamonds are the healthy layer's."""
    drawing, axes = figure(10.4, 4.9, nrows=2, ncols=4)
    # All sheets look alike and their places are known: working them out would double the time.
    drawing.set_layout_engine(None)
    drawing.subplots_adjust(0.055, 0.1, 0.992, 0.87, wspace=0.3, hspace=0.58)
    (load, logged, gradients, gates), (bias, twice, company, sizes) = axes
    _draw_load(load, patient, healthy)
    _draw_logged(logged, patient, healthy)
    _draw_gradients(gradients, patient, healthy)
    _draw_gates(gates, patient, healthy)
    _draw_bias(bias, patient, healthy)
    _draw_twice(twice, patient, healthy)
    _draw_company(company, patient, healthy)
    _draw_sizes(sizes, patient, healthy)
    _draw_key(drawing, name)
    for each in (load, gates, sizes, company, twice, logged):
        # Few labels, because text is what drawing spends its time on.
        each.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    for each in axes.flat:
        each.title.set_fontsize(10)
        each.tick_params(labelsize=8)
        each.xaxis.label.set_fontsize(8.5)
        each.yaxis.label.set_fontsize(8.5)
    return drawing


def _draw_load(axes: Axes, patient: Chart, healthy: Chart) -> None:
    loads = np.array(patient.loads).T  # (experts, steps)
    bands = axes.stackplot(range(loads.shape[1]), loads, colors=(*PALETTE[:7], "#BBBBBB"))
    for band in bands:  # told apart by their borders; which expert is which is no matter
        band.set(edgecolor="white", linewidth=1.0)
    axes.set(ylim=(0, 1), xlim=(0, loads.shape[1] - 1), title="1 Load", xlabel="training step")
    axes.set_ylabel("share of the choices")
    # In words too, because the end of training is what counts.
    busiest, normal = patient.violation + 1, healthy.violation + 1
    text = f"busiest at the end:\n{busiest:.1f} x fair share\n(in health {normal:.1f})"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    axes.text(0.97, 0.05, text, transform=axes.transAxes, ha="right", fontsize=8, bbox=box)


def _draw_logged(axes: Axes, patient: Chart, healthy: Chart) -> None:
    labels = ("even\nk=1", "even\nk=2", "even\nk=4", "crowd", "2nd\nchoice")
    values, normal = ((*chart.even, chart.crowd, chart.second) for chart in (patient, healthy))
    _bars(axes, values, normal, labels, "{:.1f}".format)
    axes.axhline(1.0, color="0.5", linewidth=1, linestyle="--")
    axes.set(title="2 Loss it logs", ylabel="balance loss")


def _draw_gradients(axes: Axes, patient: Chart, healthy: Chart) -> None:
    rows = ("task_gradient", "own_gradient", "arriving")
    values, normal = (
        [value for row in rows for value in getattr(chart, row)] for chart in (patient, healthy)
    )
    places = _in_threes(axes, ("task", "logged", "arrives"))
    axes.set_yscale("log")
    shown = np.maximum(values, ZERO)
    axes.vlines(places, ZERO, shown, color=PATIENT, linewidth=5, alpha=0.55)
    axes.plot(places, shown, "o", color=PATIENT, markersize=5)
    axes.plot(places, np.maximum(normal, ZERO), linestyle="none", **_HEALTHY)
    axes.axhline(ZERO, color="0.5", linewidth=1, linestyle=":")
    axes.set_yticks([ZERO, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
    axes.minorticks_off()
    axes.set(ylim=(ZERO / 2, 200), title="3 Gradient on the router", ylabel="norm")


def _draw_gates(axes: Axes, patient: Chart, healthy: Chart) -> None:
    values, normal = ((*chart.gate_sums, *chart.gate_moves) for chart in (patient, healthy))
    places = _in_threes(axes, ("sum of gates", "bias shift"))
    axes.bar(places, values, color=PATIENT, alpha=0.55)
    axes.plot(places, normal, linestyle="none", **_HEALTHY)
    for place, value, other in zip(places, values, normal, strict=True):
        _number(axes, place, _above(value, other, 1.2), _short(value), size=7)
    axes.set(ylim=(-0.04, 1.45), title="4 Gates", ylabel="sum / largest change")


def _in_threes(axes: Axes, groups: Sequence[str]) -> list[int]:
    """Lay out groups of k = 1, 2, 4 along the x axis, with a word above each."""
    places = [4 * group + member for group in range(len(groups)) for member in range(3)]
    axes.set_xticks(places, ["1", "2", "4"] * len(groups))
    axes.set_xlabel("experts per token, k")
    for group, text in enumerate(groups):
        axes.text(
            4 * group + 1, 0.93, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=8
        )
    return places


def _draw_bias(axes: Axes, patient: Chart, healthy: Chart) -> None:
    values, normal = (np.array(chart.bias_step) * 1e4 for chart in (patient, healthy))
    experts = range(len(values))
    axes.bar(experts, values, color=PATIENT, alpha=0.55)
    axes.plot(experts, normal, linestyle="none", **_HEALTHY)
    axes.axhline(0, color="0.5", linewidth=1)
    axes.set(title="5 Bias after a crowd at 0, 1", xlabel="expert", ylabel="change x 10 000")
    axes.set(xticks=experts, ylim=(-3.2, 3.2))


def _draw_twice(axes: Axes, patient: Chart, healthy: Chart) -> None:
    values, normal = ((c.other_experts, c.other_output) for c in (patient, healthy))
    _bars(
        axes, values, normal, ("tokens with\nother experts", "change of\noutput"), "{:.0%}".format
    )
    axes.set(title="6 Evaluated twice", ylabel="share / relative norm")
    axes.set_ylim(-0.02, 1.0)


def _draw_company(axes: Axes, patient: Chart, healthy: Chart) -> None:
    places = range(0, 2 * len(patient.company), 2)
    axes.vlines(places, 0, patient.company, color=PATIENT, linewidth=2)
    axes.plot(places, patient.company, "o", color=PATIENT, markersize=2.5)
    axes.plot(places[::4], healthy.company[::4], linestyle="none", **_HEALTHY)
    axes.set(title="7 In a batch or alone", xlabel="token, in the batch's order")
    axes.set(ylabel="change of output", ylim=(-0.05, max(1.0, 1.15 * max(patient.company))))


def _draw_sizes(axes: Axes, patient: Chart, healthy: Chart) -> None:
    values, normal = ((c.speaking, c.silent, c.likeness) for c in (patient, healthy))
    labels = ("as it is", "experts\nsilenced", "cosine with\nthe input")
    _bars(axes, values, normal, labels, _short)
    axes.set(title="8 Output / input", ylabel="norm ratio, cosine")


def _draw_key(drawing: Figure, name: str) -> None:
    marks = (
        Line2D([], [], linestyle="none", marker="s", color=PATIENT, alpha=0.6, label=name),
        Line2D([], [], linestyle="none", label="healthy layer, same seed", **_HEALTHY),
    )
    drawing.legend(handles=marks, loc="upper center", ncols=2, fontsize=10)


def _bars(
    axes: Axes,
    values: Sequence[float],
    normal: Sequence[float],
    labels: Sequence[str],
    text: Callable,
) -> None:
    """Draw the patient as bars with their numbers and the healthy layer as diamonds."""
    places = range(len(values))
    axes.bar(places, values, color=PATIENT, alpha=0.55)
    axes.plot(places, normal, linestyle="none", **_HEALTHY)
    top = max(*values, *normal, 1e-3)
    for place, value, other in zip(places, values, normal, strict=True):
        _number(axes, place, _above(value, other, top), text(value))
    axes.set_xticks(places, labels)
    axes.set_ylim(min(0.0, *values) - 0.03 * top, 1.25 * top)


def _short(value: float | int) -> str:
    return f"{value:.2f}" if value not in (0, 1) else f"{value:.0f}"


def _above(value: float | int, other: float | int, top: float | int) -> float | int:
    """Find the height of a bar's number: on the bar, or over the diamond if that is in the way."""
    return max(value, other) if abs(value - other) < 0.25 * top else value


def _number(axes: Axes, place: float | int, height: float | int, text: str, size: int = 8) -> None:
    axes.annotate(
        text,
        (place, height),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        fontsize=size,
        color="#7a3500",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.8},
    )


def in_words(name: str, chart: Chart) -> str:
    """Write the findings down as one text, for readers who do not look at the picture."""

    def numbers(values: Sequence[float]) -> str:
        return ", ".join(f"{value:.2g}" for value in values)

    far = [i for i, change in enumerate(chart.company) if change > 1e-3]
    company = f"{len(far)}, the first at place {2 * far[0]}" if far else "none"
    return (
        f"Chart of {name}. 1: at the end the busiest expert has {chart.violation + 1:.1f} fair "
        f"shares. 2: logged loss of even routing at k = 1, 2, 4: {numbers(chart.even)}; of a "
        f"crowd {chart.crowd:.2g}, of crowded second choices {chart.second:.2g}. 3: gradients at "
        f"k = 1, 2, 4: task {numbers(chart.task_gradient)}; logged loss "
        f"{numbers(chart.own_gradient)}; arriving {numbers(chart.arriving)}. 4: sums of gates "
        f"{numbers(chart.gate_sums)}; moves under a common bias {numbers(chart.gate_moves)}. "
        f"5: bias steps {numbers(chart.bias_step)}. 6: second evaluation: "
        f"{chart.other_experts:.0%} other experts, {chart.other_output:.0%} change of output. "
        f"7: tokens that answer otherwise in a batch: {company}. 8: output over input "
        f"{chart.speaking:.2g}, with silent experts {chart.silent:.2g}, cosine "
        f"{chart.likeness:.2g}."
    )
