"""The chart sheets of the bug clinic: one patient in full, or several below one another."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.chapters.ch06_load_balancing.clinic.panels import (
    GROUPS,
    HEALTHY,
    PANELS,
    PATIENT,
    Height,
)
from moe_teach.plots.style import described, figure

APART = 0.02  # a finding this far from the healthy one, of 1 or of itself, is worth its number


def chart_sheet(name: str, patient: Chart, healthy: Chart) -> Figure:
    """Draw all findings of one patient; hollow diamonds are the healthy layer's."""
    drawing, axes = figure(10.4, 4.9, nrows=2, ncols=4)
    # All sheets look alike and their places are known: working them out would double the time.
    drawing.set_layout_engine(None)
    drawing.subplots_adjust(0.055, 0.1, 0.992, 0.87, wspace=0.3, hspace=0.58)
    for at, (panel, each) in enumerate(zip(PANELS, axes.flat, strict=True)):
        panel.draw(each, patient, healthy, _write_number)
        each.set(title=panel.title, xlabel=panel.across, ylabel=panel.upright)
        # The logged loss and the output have a scale of their own, so that no number is cramped.
        each.set_ylim(_room(each) if at in (1, 7) else panel.limits)
        _few_labels(each, at)
        _sizes(each, title=10, label=8.5, tick=8)
        _name_groups(each, at, size=8)
    busiest = f"busiest at the end: {patient.violation + 1:.1f} x fair share"
    axes.flat[0].set_xlabel(f"{PANELS[0].across}\n{busiest}")
    _draw_key(drawing, name, 10)
    return described(drawing, in_words(name, patient))


def ward_sheet(patients: Mapping[str, Chart], healthy: Chart) -> Figure:
    """Draw several patients, one in each row, with the panels of all of them on the same scales.

    Numbers are written only where a patient leaves the healthy layer.
    """
    n_rows = len(patients)
    height = 1.35 + 1.35 * n_rows
    drawing, grid = figure(11.4, height, nrows=n_rows, ncols=len(PANELS), squeeze=False)
    drawing.set_layout_engine(None)
    drawing.subplots_adjust(0.045, 0.7 / height, 0.995, 1 - 0.7 / height, wspace=0.36, hspace=0.33)
    for line, (row, (name, patient)) in enumerate(zip(grid, patients.items(), strict=True)):
        for at, (panel, each) in enumerate(zip(PANELS, row, strict=True)):
            each.set_ylim(panel.limits)  # before anything is drawn: numbers ask for it
            panel.draw(each, patient, healthy, _write_number_apart)
            each.set_ylim(panel.limits)
            _few_labels(each, at)
            _small(each, is_last=line == n_rows - 1)
            if line == 0:
                each.set_title(panel.title, pad=13)
                _name_groups(each, at, size=6.5)
            _sizes(each, title=8.5, label=7.5, tick=6.5)
        row[0].set_ylabel(name.removeprefix("case "), rotation=0, fontsize=13, weight="bold")
        row[0].yaxis.set_label_coords(-0.33, 0.42)
        busiest = f"busiest {patient.violation + 1:.1f} x fair"
        row[0].text(1, 1.03, busiest, transform=row[0].transAxes, ha="right", size=6.5)
    _draw_key(drawing, "patient", 9)
    return described(drawing, " ".join(in_words(n, chart) for n, chart in patients.items()))


def _small(axes: Axes, *, is_last: bool) -> None:
    """Shrink marks; words stand below the last row only, slanted, because they are close."""
    for line in axes.lines:
        line.set_markersize(0.7 * line.get_markersize())
    axes.tick_params(axis="x", labelbottom=is_last)
    words = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    if any(letter.isalpha() for letter in "".join(words)):
        axes.set_xticks(axes.get_xticks(), words, rotation=35, ha="right")


def _few_labels(axes: Axes, at: int) -> None:
    """Keep text rare: it is what drawing spends its time on. The gradients have labels already."""
    if at != 2:
        axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _room(axes: Axes) -> tuple[Height, Height]:
    """Leave room for numbers above what is drawn."""
    low, high = axes.dataLim.intervaly
    return min(0.0, low) - 0.03 * high, 1.25 * high


def _sizes(axes: Axes, *, title: Height, label: Height, tick: Height) -> None:
    axes.title.set_fontsize(title)
    axes.tick_params(labelsize=tick)
    axes.xaxis.label.set_fontsize(label)
    axes.yaxis.label.set_fontsize(label)


def _name_groups(axes: Axes, at: int, size: Height) -> None:
    """Write above each group of k = 1, 2, 4 what it is."""
    for group, text in enumerate(GROUPS.get(at, ())):
        place = (4 * group + 1, 0.92)
        axes.text(*place, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=size)


def _draw_key(drawing: Figure, name: str, size: Height) -> None:
    marks = (
        Line2D([], [], linestyle="none", marker="s", color=PATIENT, alpha=0.6, label=name),
        Line2D([], [], linestyle="none", label="healthy layer, same seed", **HEALTHY),
    )
    drawing.legend(handles=marks, loc="upper center", ncols=2, fontsize=size)


def _write_number(
    axes: Axes, place: Height, value: Height, other: Height, text: str, size: Height = 7
) -> None:
    """Write a bar's number on the bar, or over the diamond if that is in the way."""
    top = axes.dataLim.intervaly[1] if axes.get_autoscaley_on() else axes.get_ylim()[1]
    height = max(value, other) if abs(value - other) < 0.25 * top else value
    axes.annotate(
        text, (place, height), (0, 5), textcoords="offset points", ha="center", fontsize=size
    )


def _write_number_apart(axes: Axes, place: Height, value: Height, other: Height, text: str) -> None:
    if abs(value - other) > APART * max(1.0, abs(other)):
        # Three bars stand close: of "0.25" the digits are enough.
        _write_number(axes, place, value, other, text.removeprefix("0"), size=6.5)


def in_words(name: str, chart: Chart) -> str:
    """Write the findings down as one text, for readers who do not look at the picture."""

    def numbers(values: Sequence[Height]) -> str:
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
