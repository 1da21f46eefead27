"""The eight panels of a chart in the bug clinic: a patient's marks beside the healthy layer's.

Every panel is drawn by a function of its axes, the patient, the healthy layer, and `number`, which
writes a finding above its mark: a sheet of one patient writes all of them, a sheet of several only
those that leave the healthy ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.plots.style import INK, PALETTE

PATIENT = PALETTE[3]
ZERO = 1e-3  # where an exact zero, or rounding, is drawn on a logarithmic axis
HEALTHY = {"marker": "D", "markersize": 5, "color": INK, "fillstyle": "none"}
BANDS = (*PALETTE[:7], "#BBBBBB")

Height = float | int
Number = Callable[[Axes, Height, Height, Height, str], None]  # axes, place, value, healthy, text


@dataclass(frozen=True)
class Panel:
    """One observation: its title, the words at its axes, and how it is drawn.

    `limits` of the upright axis serve sheets on which patients must be comparable.
    """

    title: str
    across: str
    upright: str
    limits: tuple[Height, Height]
    draw: Callable[[Axes, Chart, Chart, Number], None]


def _draw_load(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    loads = np.array(patient.loads).T  # (experts, steps)
    bands = axes.stackplot(range(loads.shape[1]), loads, colors=BANDS)
    for band in bands:  # told apart by their borders; which expert is which is no matter
        band.set(edgecolor="white", linewidth=0.8)
    axes.set(ylim=(0, 1), xlim=(0, loads.shape[1] - 1))


def _draw_logged(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    values, normal = ((*chart.even, chart.crowd, chart.second) for chart in (patient, healthy))
    _bars(axes, values, normal, "{:.1f}".format, number)
    axes.axhline(1.0, color=INK, linewidth=1, linestyle="--")
    labels = ("even\nk=1", "even\nk=2", "even\nk=4", "crowd", "2nd\nchoice")
    axes.set_xticks(range(5), labels)


def _draw_gradients(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    rows = ("task_gradient", "own_gradient", "arriving")
    values, normal = (
        [value for row in rows for value in getattr(chart, row)] for chart in (patient, healthy)
    )
    places = in_threes(axes, len(rows))
    axes.set_yscale("log")
    shown = np.maximum(values, ZERO)
    axes.vlines(places, ZERO, shown, color=PATIENT, linewidth=4, alpha=0.55)
    axes.plot(places, shown, "o", color=PATIENT, markersize=HEALTHY["markersize"])
    axes.plot(places, np.maximum(normal, ZERO), linestyle="none", **HEALTHY)
    axes.axhline(ZERO, color=INK, linewidth=1, linestyle=":")
    axes.set_yticks([ZERO, 0.01, 0.1, 1, 10], ["0", "0.01", "0.1", "1", "10"])
    axes.minorticks_off()


def _draw_gates(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    values, normal = ((*chart.gate_sums, *chart.gate_moves) for chart in (patient, healthy))
    places = in_threes(axes, 2)
    axes.bar(places, values, color=PATIENT, alpha=0.55)
    axes.plot(places, normal, linestyle="none", **HEALTHY)
    for place, value, other in zip(places, values, normal, strict=True):
        number(axes, place, value, other, _short(value))


def in_threes(axes: Axes, groups: int) -> list[int]:
    """Lay out groups of k = 1, 2, 4 along the axis."""
    places = [4 * group + member for group in range(groups) for member in range(3)]
    axes.set_xticks(places, ["1", "2", "4"] * groups)
    return places


def _draw_bias(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    values, normal = (np.array(chart.bias_step) * 1e4 for chart in (patient, healthy))
    experts = range(len(values))
    axes.bar(experts, values, color=PATIENT, alpha=0.55)
    axes.plot(experts, normal, linestyle="none", **HEALTHY)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xticks(experts)


def _draw_twice(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    values, normal = ((c.other_experts, c.other_output) for c in (patient, healthy))
    _bars(axes, values, normal, "{:.0%}".format, number)
    axes.set_xticks(range(2), ("other\nexperts", "other\noutput"))


def _draw_company(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    places = range(0, 2 * len(patient.company), 2)
    axes.vlines(places, 0, patient.company, color=PATIENT, linewidth=2)
    axes.plot(places, patient.company, "o", color=PATIENT, markersize=2.5)
    axes.plot(places[::4], healthy.company[::4], linestyle="none", **HEALTHY)


def _draw_sizes(axes: Axes, patient: Chart, healthy: Chart, number: Number) -> None:
    values, normal = ((c.speaking, c.silent, c.likeness) for c in (patient, healthy))
    _bars(axes, values, normal, _short, number)
    axes.set_xticks(range(3), ("as it is", "experts\nsilent", "cosine\nwith x"))


def _bars(
    axes: Axes,
    values: Sequence[Height],
    normal: Sequence[Height],
    text: Callable[[Height], str],
    number: Number,
) -> None:
    """Draw the patient as bars and the healthy layer as diamonds."""
    places = range(len(values))
    axes.bar(places, values, color=PATIENT, alpha=0.55)
    axes.plot(places, normal, linestyle="none", **HEALTHY)
    for place, value, other in zip(places, values, normal, strict=True):
        number(axes, place, value, other, text(value))


def _short(value: Height) -> str:
    return f"{value:.2f}" if value not in (0, 1) else f"{value:.0f}"


PANELS = (
    Panel("1 Load", "training step", "share of the choices", (0, 1), _draw_load),
    Panel("2 Loss it logs", "routing made by hand", "balance loss", (-0.2, 8.8), _draw_logged),
    Panel("3 Router's gradient", "experts per token, k", "norm", (ZERO / 2, 200), _draw_gradients),
    Panel("4 Gates", "experts per token, k", "sum / change", (-0.06, 1.45), _draw_gates),
    Panel("5 Bias after a crowd", "expert", "change x 10 000", (-3.2, 3.2), _draw_bias),
    Panel("6 Evaluated twice", "", "share / relative norm", (-0.05, 1.2), _draw_twice),
    Panel(
        "7 Alone or in a batch", "token's place", "change of output", (-0.06, 1.3), _draw_company
    ),
    Panel("8 Output / input", "", "norm ratio, cosine", (-0.06, 1.7), _draw_sizes),
)
GROUPS = {2: ("task", "logged", "arrives"), 3: ("sum of gates", "bias shift")}
