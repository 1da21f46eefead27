"""The record that the loss axes show, and who leads at a budget."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from moe_teach.config import refuse

AXES = ("steps", "flops", "seconds")


@dataclass(frozen=True)
class Curve:
    """The loss of one run with one seed. Runs of the same name are seeds of the same setting.

    Args:
        name: what was trained.
        steps: the steps at which the loss was measured, rising.
        loss: the loss at each of them.
        flops_per_step: active FLOPs of a training step, forward and backward.
        seconds_per_step: wall time of a training step.
        seed: tells the runs of one name apart.

    Raises:
        ValueError: for fewer than two points, lengths that differ, steps that do not rise, or
            numbers that cannot be drawn.
    """

    name: str
    steps: list[int]
    loss: list[float]
    flops_per_step: float | int
    seconds_per_step: float | int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        who = f"The curve {self.name!r} (seed {self.seed})"
        refuse(
            len(self.steps) != len(self.loss),
            f"{who} has {len(self.steps)} steps and {len(self.loss)} losses: give one loss for "
            "each step.",
        )
        refuse(len(self.steps) < 2, f"{who} needs at least two measured points.")
        refuse(
            self.steps[0] < 0 or any(b <= a for a, b in pairwise(self.steps)),
            f"{who} needs steps that rise from 0 or later: sort them, and give each step once.",
        )
        refuse(
            not all(map(math.isfinite, self.loss)),
            f"{who} holds a loss that is no finite number: leave out the steps after it diverged.",
        )
        for name, value in (
            ("flops_per_step", self.flops_per_step),
            ("seconds_per_step", self.seconds_per_step),
        ):
            refuse(
                not math.isfinite(value) or value <= 0,
                f"{who} needs a positive finite {name}; it is {value}.",
            )

    def per_step(self, axis: str) -> float:
        """Give what one step takes on `axis`: 1 step, its FLOPs, or its seconds."""
        return {"steps": 1.0, "flops": self.flops_per_step, "seconds": self.seconds_per_step}[axis]

    def ends(self, axis: str) -> tuple[float, float]:
        """Give the first and the last measured point on `axis`."""
        return self.steps[0] * self.per_step(axis), self.steps[-1] * self.per_step(axis)

    def at(self, axis: str, budget: float) -> float:
        """Give the loss at a budget, on the straight line between the two points around it."""
        places = np.asarray(self.steps) * self.per_step(axis)
        return float(np.interp(budget, places, self.loss))


@dataclass(frozen=True)
class Place:
    """One name in the ranking at a budget: the mean over its seeds, and the lowest and highest.

    `versus_better` compares with the place before: "first", "inside" (the seeds' ranges overlap),
    "apart", or "unknown" (they do not, but one of the two has a single seed).
    """

    name: str
    mean: float
    low: float
    high: float
    n_seeds: int
    versus_better: str


def by_name(curves: list[Curve]) -> dict[str, list[Curve]]:
    """Gather the seeds of every name, in the order of their first appearance."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.name, []).append(curve)
    return groups


def reach(curves: list[Curve], axis: str) -> float:
    """Give the largest budget that every run has reached."""
    return min(curve.ends(axis)[1] for curve in curves)


def furthest(curves: list[Curve], axis: str) -> float:
    """Give the largest budget that all seeds of some name have reached."""
    return max(reach(runs, axis) for runs in by_name(curves).values())


def ranking(curves: list[Curve], axis: str, budget: float) -> list[Place]:
    """Rank the names whose seeds were all measured around `budget`, the lowest mean loss first."""
    slack = 1e-9 * budget
    found = []
    for name, runs in by_name(curves).items():
        spans = [run.ends(axis) for run in runs]
        if all(start - slack <= budget <= end + slack for start, end in spans):
            losses = [run.at(axis, budget) for run in runs]
            found.append((sum(losses) / len(losses), min(losses), max(losses), len(runs), name))
    found.sort(key=lambda entry: entry[0])
    places: list[Place] = []
    for mean, low, high, n_seeds, name in found:
        verdict = "first"
        if places:
            alone = n_seeds == 1 or places[-1].n_seeds == 1
            overlap = low <= places[-1].high
            verdict = "inside" if overlap else "unknown" if alone else "apart"
        places.append(Place(name, mean, low, high, n_seeds, verdict))
    return places


def example() -> list[Curve]:
    """Invent three models with three seeds each; which one leads depends on the axis."""
    #        name                  start floor  pace   FLOPs  seconds per step
    plans = (
        ("dense, width 64", 4.3, 1.84, 0.0085, 1.0e9, 0.012, 1600),
        ("dense, width 256", 4.3, 1.66, 0.0095, 3.1e9, 0.031, 900),
        ("MoE, 8 experts of 64, top-2", 4.3, 1.62, 0.0105, 1.5e9, 0.041, 800),
    )
    return [
        Curve(
            name=name,
            steps=list(range(0, last + 1, 25)),
            loss=[
                round(
                    floor
                    + 0.025 * math.sin(2.4 * seed + len(name))
                    + (start - floor) / (1 + pace * step) ** 1.1
                    + 0.02 * math.sin(0.031 * step * (1 + 0.3 * seed) + seed),
                    4,
                )
                for step in range(0, last + 1, 25)
            ],
            flops_per_step=flops,
            seconds_per_step=seconds * (1 + 0.02 * seed),
            seed=seed,
        )
        for name, start, floor, pace, flops, seconds, last in plans
        for seed in range(3)
    ]
