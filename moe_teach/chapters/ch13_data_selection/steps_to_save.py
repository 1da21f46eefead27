"""Chapter 13, exercise 13.4: the bill of selection, and from how many saved steps on it pays."""

from typing import Any

import numpy as np

from moe_teach.chapters.ch13_data_selection.bills import SLIPS, billed
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="13.4",
    name="steps_to_save",
    title="The bill",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "Three sums: a step without selection, a step with it, and what the reference cost before "
        "anything was chosen. Training is three forward passes, scoring is one; every candidate "
        "is scored and only the chosen are learned from.",
        "With T steps the run with selection costs T * per_step + reference / n_runs. It has to "
        "stay below n_steps * plain. Multiply by n_runs, and everything is whole numbers.",
        "plain = 3 * learner_forward * n_chosen; per_step = plain + n_candidates * "
        "(learner_forward + reference_forward); reference = 3 * reference_forward * n_chosen * "
        "reference_steps; most = (n_runs * n_steps * plain - reference - 1) // (n_runs * "
        "per_step), the largest T that costs less; saved = n_steps - most if most >= 1 else None.",
    ),
    explanation="At a filter ratio of 80 % and a reference as large as the learner, a step with "
    "selection costs 1 + 10 / 3 plain ones: unless a run needs less than a quarter of the steps, "
    "it is dearer than one that takes what comes. A smaller reference, a cheaper way to score or a "
    "lower filter ratio change that, more steps do not; more runs share what the reference cost "
    "and nothing else. So say with every saving in steps what a step costs.",
)

NAMES = ("learner_forward", "reference_forward", "n_chosen", "n_candidates")
NAMES += ("n_steps", "reference_steps", "n_runs")


def case(seed: int, *, n_runs: int = 1, scale: int = 1) -> dict[str, int]:
    """Draw a bill; nothing is a multiple of anything."""
    rng = np.random.default_rng([13, seed, n_runs])
    learner, reference = (int(n) for n in rng.integers(50, 500, 2))
    n_chosen = int(rng.integers(3, 40))
    n_steps = int(rng.integers(300, 4000))
    found = (learner * scale, reference * scale, n_chosen, n_chosen + int(rng.integers(1, 90)))
    return dict(zip(NAMES, (*found, n_steps, n_steps // 9, n_runs), strict=True))


_ELSE = Why(
    "The total is the steps times what each costs, and the run's part of the reference's training.",
    "Compare T * per_step + reference / n_runs with n_steps * 3 * learner_forward * n_chosen.",
)


def _checked(answer: Any, given: dict[str, int]) -> tuple[int, int | None]:
    got = answer(**given)
    require(
        isinstance(got, tuple) and len(got) == 2,
        "The answer is a tuple of two: the cost of a step, and the steps to be saved.",
        got=got,
        example=given,
    )
    require(
        type(got[0]) is int and (got[1] is None or type(got[1]) is int),
        "Both must be plain integers; the second may be None.",
        cause="`/` gives a float."
        if any(isinstance(part, float) for part in got)
        else "A number of torch or numpy has 64 bits, and a bill may have more.",
        cure="Only plain integers, and `//`, with care which way it rounds.",
        got=got,
        example=given,
    )
    return got


def _demand(
    answer: Any, cases: list[dict[str, int]], said: str, part: slice, slips: tuple[str, ...]
) -> None:
    """Ask for all cases; name the one mistake that explains every answer, if there is one."""
    answers = [(given, billed(given), _checked(answer, given)) for given in cases]

    def explains(slip: str) -> bool:
        return all(got[part] == billed(given, slip)[part] for given, _, got in answers)

    for given, expected, got in answers:
        if got[part] != expected[part]:
            why = next((SLIPS[slip] for slip in slips if explains(slip)), _ELSE)
            require(False, said, **why._asdict(), expected=expected, got=got, example=given)


@EXERCISE.stage("a step")
def _bill_step(answer: Any, seed: int) -> None:
    cases = [case(100 * seed + i) for i in range(6)]
    slips = (
        "forward", "chosen", "rest", "no reference", "no learner", "backward", "reuse",
        "all trained",
    )  # fmt: skip
    _demand(answer, cases, "A step with selection costs another number.", slice(0, 1), slips)


@EXERCISE.stage("one run")
def _bill_run(answer: Any, seed: int) -> None:
    cases = [case(100 * seed + i) for i in range(20)]
    slips = ("free", "once", "super", "rounded", "by the learner", "super plain", "left")
    _demand(answer, cases, "With one run, another number of steps is right.", slice(1, 2), slips)


@EXERCISE.stage("several runs")
def _bill_shared(answer: Any, seed: int) -> None:
    cases = [case(100 * seed + i, n_runs=n_runs) for i in range(8) for n_runs in (2, 7, 30)]
    said = "With several runs for one reference, another number of steps is right."
    _demand(answer, cases, said, slice(0, 2), ("unshared",))


@EXERCISE.stage("as dear")
def _bill_equal(answer: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = []
    for n_runs in (1, 3):
        forward, n_chosen = (int(n) for n in rng.integers(2, 50, 2))
        # A step costs 3 plain ones, and the reference as much as 3 plain steps of each run.
        found = (forward, forward, n_chosen, 3 * n_chosen, 300, 3 * n_runs, n_runs)
        cases.append(dict(zip(NAMES, found, strict=True)))
        # Plain steps cost 3 and those with selection 5: 1 FLOP is left over.
        before, left = int(rng.integers(1, 60)), 2 + 5 * int(rng.integers(0, 40)) * (n_runs == 3)
        cases.append(dict(zip(NAMES, (1, 1, 1, 1, before + left, before, 1), strict=True)))
    said = "Where both runs cost the same, or 1 FLOP decides, another number of steps is right."
    _demand(answer, cases, said, slice(0, 2), ("at most", "one"))


@EXERCISE.stage("it never pays")
def _bill_never(answer: Any, seed: int) -> None:
    cases = []
    for i, n_steps in enumerate((1, 1, 2)):
        given = case(100 * seed + i) | {"n_steps": n_steps}
        cases.append(given | {"reference_steps": 0 if i == 1 else given["reference_steps"]})
    said = "Not even a run of one step would be cheaper here: the second must be None."
    _demand(answer, cases, said, slice(0, 2), ("negative", "zero", "no steps"))


@EXERCISE.stage("large numbers")
def _bill_large(answer: Any, seed: int) -> None:
    cases = []
    for n_runs in (1, 7):
        forward = 10**21 + seed
        found = (forward, forward, 5, 15, 3 * 10**6, 3 * n_runs, n_runs)
        cases.append(dict(zip(NAMES, found, strict=True)))
        exact = case(seed, n_runs=n_runs, scale=10**18 + 9)
        # One FLOP more or less decides.
        cases.append(exact | {"reference_steps": 0, "learner_forward": forward * 10**4 + 1,
                              "reference_forward": forward * 10**4 - 1, "n_steps": 3 * 10**6,
                              "n_chosen": 5, "n_candidates": 15})  # fmt: skip
    said = "With the numbers of a large model the count of steps is off."
    _demand(answer, cases, said, slice(0, 2), ("floats",))
