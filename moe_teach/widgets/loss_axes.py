"""Put the same runs on three axes, and see who leads at a budget of steps, FLOPs or seconds."""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.curve_record import (
    AXES,
    Curve,
    Place,
    by_name,
    example,
    furthest,
    ranking,
    reach,
)

__all__ = ["Curve", "LossAxes", "Place"]

MOST_NAMES, MOST_RUNS = 8, 64  # one colour, dash and marker for each name


class LossAxes(CourseWidget):
    """Loss curves of several settings, with their seeds, against what the training took.

    `axis` is "steps", "flops" (active FLOPs, forward and backward) or "seconds"; `budget` is a
    place on it, and never beyond the end of the longest run. Another axis starts with the largest
    budget that every run has reached. Steps and losses travel as bytes.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "Loss curves of several models, the mean over seeds as a line and the seeds' range as a "
        "band, against steps, active FLOPs or seconds; a budget line that can be moved, and the "
        "ranking at that budget."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Switch from steps to active FLOPs to seconds and read the ranking each time: the runs are "
        "the same, so which question does each axis answer?",
        "On seconds, move the budget from the left end to the right: is there a budget at which "
        "the leader changes?",
        "Find a budget where the first two are inside the seed spread. What would you have "
        "concluded from one seed?",
    )

    runs = traitlets.List(traitlets.Dict()).tag(sync=True)
    steps = traitlets.Bytes(b"").tag(sync=True)
    losses = traitlets.Bytes(b"").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    axis = traitlets.Enum(list(AXES), "steps").tag(sync=True)
    budget = traitlets.Float(0.0).tag(sync=True)
    log_loss = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        if "runs" not in traits:
            note = "An invented illustration: no model was trained for these curves."
            traits = _as_traits(example()) | {"note": note} | traits
        curves = _unpacked(traits["runs"], traits["steps"], traits["losses"])
        if "budget" not in traits:
            axis = traits.get("axis", "steps")
            traits["budget"] = reach(curves, axis if axis in AXES else "steps")
        super().__init__(**traits)
        self.observe(self._start_over, "axis")  # only now: a given budget stays

    @classmethod
    def of(cls, curves: list[Curve], **traits: Any) -> "LossAxes":
        """Show the curves; `note` may say where they come from.

        Raises:
            ValueError: for no curve, a seed given twice, more than 8 names or 64 runs.
        """
        refuse(not curves, "The loss axes need at least one curve; the list is empty.")
        groups = by_name(curves)
        refuse(
            len(groups) > MOST_NAMES or len(curves) > MOST_RUNS,
            f"The loss axes have room for {MOST_NAMES} names and {MOST_RUNS} runs, not for "
            f"{len(groups)} and {len(curves)}.",
        )
        for name, runs in groups.items():
            refuse(
                len({run.seed for run in runs}) < len(runs),
                f"{name!r} has two curves with the same seed: give each seed once, and another "
                "name to another setting.",
            )
        return cls(**_as_traits(curves) | traits)

    def curves(self) -> list[Curve]:
        """Give back the curves as they are shown (losses in single precision)."""
        return _unpacked(self.runs, self.steps, self.losses)

    def ranking(self) -> list[Place]:
        """Rank the names at the present budget, the lowest mean loss first.

        A name is left out where one of its seeds was not measured around the budget.
        """
        return ranking(self.curves(), self.axis, self.budget)

    def words(self) -> str:
        """Say the ranking at the present budget."""
        places = ", ".join(
            f"{n}. {place.name} with {place.mean:.3f}"
            + (" (inside the seed spread)" if place.versus_better == "inside" else "")
            for n, place in enumerate(self.ranking(), start=1)
        )
        end = f" {self.note}" if self.note else ""
        return f"Loss at {amount(self.budget, self.axis)}: {places or 'nobody was measured'}.{end}"

    def picture(self) -> str:
        """Draw the mean curve of every name on the present axis, and the budget."""
        groups, strokes = by_name(self.curves()), []
        end = furthest(self.curves(), self.axis)
        losses = [loss for curve in self.curves() for loss in curve.loss]
        low, high = min(losses), max(losses)
        for i, (name, runs) in enumerate(groups.items()):
            start = max(run.ends(self.axis)[0] for run in runs)
            spots = np.linspace(start, reach(runs, self.axis), 60)
            means = np.mean([[run.at(self.axis, spot) for spot in spots] for run in runs], axis=0)
            across, down = 12 + 340 * spots / end, 40 + 180 * (high - means) / (high - low or 1)
            colour, dash = still.colour_of(i), still.DASHES[i % len(still.DASHES)]
            strokes.append(still.line(list(zip(across, down, strict=True)), colour, dash))
            strokes.append(still.line([(366, 46 + 20 * i), (390, 46 + 20 * i)], colour, dash))
            strokes.append(still.label(396, 50 + 20 * i, name))
        here = 12 + 340 * self.budget / end
        strokes.append(still.line([(here, 36), (here, 224)], dash="3 3"))
        said = f"up to {amount(end, self.axis)}; dashed: {amount(self.budget, self.axis)}"
        strokes.append(still.label(12, 242, said))
        return still.sheet(600, 252, "Loss, the mean over seeds", *strokes)

    def _start_over(self, change: Any) -> None:
        self.budget = reach(self.curves(), change["new"])

    @traitlets.validate("budget")
    def _is_on_the_axis(self, proposal: Any) -> float:
        value = proposal["value"]
        refuse(
            not math.isfinite(value) or value <= 0,
            f"budget must be a positive finite number of {self.axis}; it is {value}.",
        )
        return min(value, furthest(self.curves(), self.axis))


def amount(value: float, axis: str) -> str:
    """Write a place on an axis with three digits and its unit: 400 steps, 3.10 TFLOP, 20.0 s."""
    if axis == "steps":
        return f"{round(value)} steps"
    power = 0
    # What would be rounded to 1000 already belongs to the next unit.
    while axis == "flops" and value >= 999.5 and power < 7:
        value, power = value / 1000, power + 1
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {' KMGTPEZ'[power].strip() + 'FLOP' if axis == 'flops' else 's'}"


def _as_traits(curves: list[Curve]) -> dict[str, Any]:
    return {
        "runs": [
            {
                "name": curve.name,
                "seed": curve.seed,
                "flops_per_step": float(curve.flops_per_step),
                "seconds_per_step": float(curve.seconds_per_step),
                "n_points": len(curve.steps),
            }
            for curve in curves
        ],
        "steps": b"".join(np.asarray(curve.steps, "<i4").tobytes() for curve in curves),
        "losses": b"".join(np.asarray(curve.loss, "<f4").tobytes() for curve in curves),
    }


def _unpacked(runs: list[dict[str, Any]], steps: bytes, losses: bytes) -> list[Curve]:
    all_steps, all_losses = np.frombuffer(steps, "<i4"), np.frombuffer(losses, "<f4")
    curves, start = [], 0
    for run in runs:
        own = slice(start, start + run["n_points"])
        start = own.stop
        curves.append(
            Curve(
                name=run["name"],
                steps=all_steps[own].tolist(),
                loss=all_losses[own].tolist(),
                flops_per_step=run["flops_per_step"],
                seconds_per_step=run["seconds_per_step"],
                seed=run["seed"],
            )
        )
    return curves
