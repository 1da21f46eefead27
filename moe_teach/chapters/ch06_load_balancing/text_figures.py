"""The figures of lesson 06b, the language model: who is in use, and how alike the tokens look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moe_teach.plots.style import FAINT, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float] | Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Course:
    """How one way of balancing went: a value for each seed at each of `steps`, (seeds, steps).

    `losses` are the validation losses at the end, one for each seed; `live` are the reader's own
    values and loss, where there are any.
    """

    steps: Numbers
    dead: np.ndarray
    violation: np.ndarray
    losses: Numbers
    live: tuple[Numbers, Numbers, Numbers] | None = None  # steps, dead, violation


def utilisation(courses: Mapping[str, Course], n_experts: int) -> Figure:
    """Draw dead experts and MaxVio over training beside the loss at the end.

    Thick lines are means over the seeds, bands the full range over them, dashed lines the reader's
    own run. `n_experts` counts all experts of all layers.
    """
    drawing, (left, middle, right) = figure(10.4, 3.9, ncols=3, width_ratios=(1, 1, 0.9))
    for i, (name, course) in enumerate(courses.items()):
        for axes, table, own in ((left, course.dead, 1), (middle, course.violation, 2)):
            _draw_course(axes, course, np.asarray(table, dtype=float), own, i, name)
        spread = np.linspace(-0.18, 0.18, len(course.losses))
        right.plot(course.losses, i + spread, MARKERS[i], color=PALETTE[i], markersize=5)
        right.vlines(float(np.mean(course.losses)), i - 0.33, i + 0.33, color=PALETTE[i])
    left.set(xlabel="training step", ylabel=f"dead experts, of {n_experts}", title="Not in use")
    middle.set(xlabel="training step", ylabel="MaxVio, mean of the layers", title="Overworked")
    left.set_ylim(-0.5, n_experts)
    right.set_yticks(range(len(courses)), list(courses))
    right.invert_yaxis()
    right.set(xlabel="nats per byte on held-back text", title="The loss, each seed")
    handles, _ = left.get_legend_handles_labels()
    handles += [
        Patch(color=FAINT, label="range of the stored seeds"),
        Line2D([], [], color=INK, linestyle="--", linewidth=1.2, label="your run"),
        Line2D([], [], color=INK, marker="|", markersize=12, linestyle="none", label="mean loss"),
    ]
    drawing.legend(handles=handles, loc="outside lower center", ncols=4)
    said = "; ".join(
        f"{name}: {np.mean(course.dead[:, -1]):.1f} dead, MaxVio "
        f"{np.mean(course.violation[:, -1]):.1f}, loss {np.mean(course.losses):.3f}"
        for name, course in courses.items()
    )
    return described(drawing, f"At the end, means of the stored seeds. {said}.")


def _draw_course(
    axes: Axes, course: Course, table: np.ndarray, own: int, i: int, name: str
) -> None:
    style = {"color": PALETTE[i], "marker": MARKERS[i], "markersize": 4}
    axes.fill_between(
        course.steps, table.min(axis=0), table.max(axis=0), color=PALETTE[i], alpha=0.15
    )
    axes.plot(course.steps, table.mean(axis=0), label=name, **style)
    if course.live is not None:
        axes.plot(course.live[0], course.live[own], "--", color=PALETTE[i], linewidth=1.2)


def likeness_and_dead(
    steps: Numbers, likeness: Mapping[str, np.ndarray], dead: Mapping[str, np.ndarray]
) -> Figure:
    """Draw how alike tokens look to the routers above how many experts are dead.

    Both hold a table for each method, (seeds, steps): thin lines are seeds, thick ones means.
    """
    drawing, panels = figure(7.4, 4.6, nrows=2, sharex=True)
    for axes, tables in zip(panels, (likeness, dead), strict=True):
        for i, (name, table) in enumerate(tables.items()):
            axes.plot(steps, np.asarray(table).T, color=PALETTE[i], linewidth=0.6, alpha=0.6)
            mean = np.mean(table, axis=0)
            style = {"color": PALETTE[i], "marker": MARKERS[i], "markersize": 5}
            axes.plot(steps, mean, label=name, **style)
    panels[0].set(ylabel="cosine of two tokens", ylim=(0, 1.02), title="How alike tokens look")
    panels[1].set(xlabel="training step", ylabel="dead experts", ylim=(0, None))
    handles, _ = panels[0].get_legend_handles_labels()
    handles += [Line2D([], [], color=INK, linewidth=0.6, label="one seed; thick: their mean")]
    drawing.legend(handles=handles, loc="outside lower center", ncols=2)
    said = "; ".join(
        f"{name}: cosine {', '.join(f'{x:.2f}' for x in np.mean(likeness[name], axis=0))}, dead "
        f"{', '.join(f'{x:.0f}' for x in np.mean(dead[name], axis=0))}"
        for name in likeness
    )
    return described(drawing, f"Means at steps {', '.join(map(str, steps))}. {said}.")
