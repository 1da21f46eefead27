"""Figures that compare runs: a ladder of losses, curves on three axes, gains with their noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The validation curves of one model, one for each seed, and the price of a training step.

    `losses` holds one list for each seed, as long as `steps` (or shorter: a run that was stopped).
    """

    name: str
    steps: Sequence[int]
    losses: Sequence[Sequence[float]]
    flops_per_step: float
    seconds_per_step: float


def ladder(rungs: Mapping[str, float | Sequence[float]], unit: str = "nats per byte") -> Figure:
    """Draw losses as a ladder: one bar for each rung, from the worst to the best.

    Args:
        rungs: a loss for each name, or one loss for each seed, which are then drawn as marks.
        unit: of the losses.
    """
    drawing, axes = figure(7.4, 0.45 * len(rungs) + 1.0)
    for row, value in enumerate(rungs.values()):
        losses = np.atleast_1d(value)
        middle, learned = float(np.median(losses)), len(losses) > 1
        colour = PALETTE[5] if learned else FAINT
        axes.barh(row, middle, color=colour, hatch=HATCHES[0 if learned else 1], edgecolor=INK)
        if learned:
            axes.plot(losses, np.full(len(losses), row), "|", color=PALETTE[3], markersize=11)
        axes.text(max(losses) + 0.06, row, f"{middle:.2f}", va="center")
    axes.set_yticks(range(len(rungs)), list(rungs))
    axes.invert_yaxis()
    axes.set(xlabel=f"loss ({unit}); marks are seeds", xlim=(0, 1.12 * _largest(rungs)))
    steps = ", ".join(f"{name} {np.median(value):.2f}" for name, value in rungs.items())
    return described(drawing, f"A ladder of losses in {unit}: {steps}.")


def three_axes(runs: Sequence[Runs], live: Sequence[Runs] = ()) -> Figure:
    """Draw the same runs three times: against steps, active FLOPs and seconds.

    The band reaches from the best seed to the worst, the line is the median. `live` runs are drawn
    on top with the colour of the stored run of the same name.
    """
    drawing, panels = figure(11.0, 4.3, ncols=3, sharey=True)
    scales = (
        ("training steps", lambda run: 1.0),
        ("active FLOPs, forward and backward (10$^{12}$)", lambda run: run.flops_per_step / 1e12),
        ("seconds of training", lambda run: run.seconds_per_step),
    )
    for axes, (label, price) in zip(panels, scales, strict=True):
        for i, run in enumerate(runs):
            _draw_band(axes, run, price(run), i)
        for run in live:
            place = [stored.name for stored in runs].index(run.name)
            _draw_live(axes, run, price(run), place)
        axes.set(xlabel=label, xlim=(0, None))
    # The first measurements are of no interest and would squeeze the rest into a corner.
    later = [np.asarray(run.losses)[:, 1:] for run in runs if len(run.steps) > 2]
    ends = [curve[-1] for run in live for curve in run.losses]
    top = max([*(losses.max() for losses in later), *ends], default=None)
    panels[0].set(ylabel="loss on the answers (nats per byte)", ylim=(None, top))
    drawing.legend(
        *_legend(panels[0], live), loc="outside lower center", ncols=min(4, len(runs) + 2)
    )
    return described(drawing, _in_words(runs))


def _legend(axes: Axes, live: Sequence[Runs]) -> tuple[list[Artist], list[str]]:
    """Add to the names of the runs what a band is and what the reader's own lines are."""
    handles, labels = axes.get_legend_handles_labels()
    handles.append(Patch(facecolor=FAINT))
    labels.append("band: from the best seed to the worst")
    if live:
        mark = {"marker": "*", "markersize": 12, "markeredgecolor": "none"}
        handles.append(Line2D([], [], color=INK, linewidth=2.6, **mark))
        labels.append("your runs, each over its model's line")
    return handles, labels


def _in_words(runs: Sequence[Runs]) -> str:
    ends = "; ".join(
        f"{run.name} ends at {np.median([curve[-1] for curve in run.losses]):.2f} nats after "
        f"{run.steps[-1]:,} steps, {run.steps[-1] * run.flops_per_step / 1e12:.2f} TFLOP and "
        f"{run.steps[-1] * run.seconds_per_step:.0f} seconds"
        for run in runs
    )
    return f"The same losses against steps, active FLOPs and seconds (medians of seeds): {ends}."


def loss_by_experts(
    losses: Mapping[int, Sequence[float]],
    anchors: Mapping[str, Sequence[float]],
    live: Mapping[int, float] | None = None,
) -> Figure:
    """Draw the loss against the number of experts, with dense models as horizontal bands.

    Args:
        losses: for each number of experts one loss per seed.
        anchors: the same for each dense model.
        live: the reader's own run: a loss for some numbers of experts.
    """
    drawing, axes = figure(8.2, 4.4)
    numbers = sorted(losses)
    for i, (name, values) in enumerate(anchors.items(), start=1):
        _draw_anchor(axes, name, values, i)
    medians = [float(np.median(losses[n])) for n in numbers]
    axes.plot(numbers, medians, color=PALETTE[0], label="median of the seeds")
    for n in numbers:
        spread = n * 2.0 ** np.linspace(-0.07, 0.07, len(losses[n]))
        label = "a stored seed" if n == numbers[0] else None
        axes.plot(spread, losses[n], MARKERS[0], color=PALETTE[0], markersize=6, label=label)
    if live:
        axes.plot(*_points(live), "*", color=INK, markersize=15, label="your seed")
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.set(
        xlabel="number of experts; one works on a token",
        ylabel="loss on the answers (nats per byte)",
        title="Equal work for a token, more and more parameters to choose from",
    )
    axes.plot([], [], color=FAINT, linewidth=9, label="a dense model's seeds")
    axes.legend(loc="lower left")
    path = ", ".join(f"{n}: {middle:.2f}" for n, middle in zip(numbers, medians, strict=True))
    bands = ", ".join(f"{name} {np.median(values):.2f}" for name, values in anchors.items())
    return described(
        drawing,
        f"Median loss by number of experts ({path}), with one mark per seed, and two bands for "
        f"dense models ({bands}).",
    )


def gains(groups: Mapping[str, Mapping[str, tuple[Sequence[float], float]]]) -> Figure:
    """Draw gains over a baseline, seed by seed, with the uncertainty of their mean.

    Args:
        groups: for each text and each model the gains in nats, one for each seed, and the
            half-width of the interval of their mean. Positive is better than the baseline.
    """
    drawing, panels = figure(10.0, 3.9, ncols=len(groups), sharey=True, squeeze=False)
    for axes, (text, models) in zip(panels[0], groups.items(), strict=True):
        axes.axhline(0, color=INK, linewidth=1)
        for i, (values, half_width) in enumerate(models.values()):
            spread = np.linspace(-0.14, 0.14, len(values))
            axes.plot(i + spread, values, MARKERS[i], color=PALETTE[i], markersize=7)
            axes.errorbar(
                i, float(np.mean(values)), half_width, color=INK, capsize=7, linewidth=1.4
            )
        axes.set_xticks(range(len(models)), list(models))
        axes.set(title=text, xlim=(-0.6, len(models) - 0.4))
    panels[0][0].set(ylabel="gain over the dense model\nof equal active size (nats)")
    marks = Line2D([], [], color=INK, linestyle="", marker="o", markersize=7)
    interval = Line2D([], [], color=INK, linestyle="", marker="|", markersize=14)
    drawing.legend(
        [marks, interval],
        ["the gain of one seed", "95 % interval of the mean"],
        loc="outside lower center",
        ncols=2,
    )
    found = "; ".join(
        f"{text}: "
        + ", ".join(f"{name} {np.mean(v):+.2f} ± {half:.2f}" for name, (v, half) in models.items())
        for text, models in groups.items()
    )
    return described(drawing, f"Gains over the dense model in nats, mean and interval. {found}.")


def _draw_anchor(axes: Axes, name: str, values: Sequence[float], place: int) -> None:
    middle = float(np.median(values))
    axes.axhspan(min(values), max(values), color=PALETTE[place], alpha=0.18, linewidth=0)
    axes.axhline(middle, color=PALETTE[place], linestyle=LINES[place])
    axes.annotate(name, (1.01, middle), xycoords=("axes fraction", "data"), va="center")


def _draw_band(axes: Axes, run: Runs, price: float, place: int) -> None:
    x, curves = np.asarray(run.steps) * price, np.asarray(run.losses)
    colour = PALETTE[place]
    axes.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.22)
    axes.plot(
        x,
        np.median(curves, axis=0),
        color=colour,
        linestyle=LINES[place % len(LINES)],
        marker=MARKERS[place],
        markevery=(2 + place, 5),
        markersize=5,
        label=run.name,
    )


def _draw_live(axes: Axes, run: Runs, price: float, place: int) -> None:
    for curve in run.losses:
        x = np.asarray(run.steps[: len(curve)]) * price
        axes.plot(x, curve, color=INK, linewidth=3.4)
        axes.plot(
            x, curve, color=PALETTE[place], linewidth=1.2, linestyle=LINES[place % len(LINES)]
        )
        axes.plot(x[-1:], curve[-1:], "*", color=INK, markersize=12)


def _points(values: Mapping[int, float]) -> tuple[list[int], list[float]]:
    return list(values), list(values.values())


def _largest(rungs: Mapping[str, float | Sequence[float]]) -> float:
    return max(float(np.max(np.atleast_1d(value))) for value in rungs.values())


def your_curve(
    stored_steps: Sequence[int],
    stored: Mapping[str, Sequence[Sequence[float]]],
    steps: Sequence[int],
    losses: Sequence[float],
) -> Figure:
    """Draw one run of the reader over the stored seeds of the course's models.

    `stored` holds, by model, one list of losses for each seed, measured after `stored_steps`.
    """
    drawing, axes = figure(7.4, 3.8)
    for index, (name, curves) in enumerate(stored.items()):
        colour, values = PALETTE[index], np.asarray(curves)
        axes.fill_between(stored_steps, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        median = np.median(values, axis=0)
        label = f"{name} ({len(values)} stored seeds)"
        axes.plot(stored_steps, median, color=colour, ls=LINES[index], label=label)
    axes.plot(steps, losses, color=INK, marker="*", markersize=9, label="your model, your loop")
    axes.set(xlabel="training steps", ylabel="loss (nats per byte of the answers)")
    axes.legend(fontsize=9)
    return described(
        drawing,
        "Loss on the facts against training steps. Bands reach from the best stored seed to the "
        f"worst, for {' and '.join(stored)}; your own curve is drawn over them.",
    )
