"""Chapter 06, exercise 6.4: what the counts of a whole training say about its balance."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.report_slips import DEAD, RESTING, is_dead
from moe_teach.chapters.ch06_load_balancing.report_slips import WORDS as _W
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="6.4",
    name="balance_report",
    title="Read a training log",
    version=2,
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "First leave out the steps without a choice. Three of the numbers are read off one load, "
        "that of all steps together; two need the load of each step.",
        "All steps together: add the *counts*, then divide. Each step: divide each row by its own "
        "sum. `torch.special.entr(load)` is -f ln f and knows that 0 ln 0 is 0.",
        "rows = counts[counts.sum(1) > 0].double(); loads = rows / rows.sum(1, keepdim=True); load "
        "= rows.sum(0) / rows.sum(); dead = load < 0.1 / E; resting = ~dead & ((loads < 0.1 / "
        "E).double().mean(0) > 0.5)",
    ),
    explanation="Wang et al. (2024) tell MaxVio of a batch from MaxVio of all batches, and the two "
    "answer different questions. A machine waits for the busiest expert of *this* step; memory is "
    "wasted on whoever is idle over *all* of them. A router whose batches swing from expert to "
    "expert looks even in the sum: no expert is dead, and at every step most of them rest. That is "
    "what lesson 06b saw at step 15 with the balancing loss. And an entropy near 1 hides dead "
    "experts: of 64 experts 6 can be dead while it still says 0.976.",
)

KEYS = ("max_violation", "step_violation", "entropy", "dead", "resting")
SIZES = ((1, 2), (2, 5), (3, 11), (7, 13), (5, 31), (4, 257))  # steps, experts
TURNS = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]  # even in the sum, collapsed at every step
ONE_BIG = [[1, 0, 0], [20, 30, 40], [0, 1, 0]]  # steps of very different size
EVEN = [[1] * 257] * 3
COLLAPSE = [[7, 0, 0], [11, 0, 0]]
# The fair shares are 20, 50 and 10 choices, so a tenth of them is 2, 5 and 1: some experts stand
# exactly there, one choice below, one above, and below two tenths.
BORDERS = ([70, 3, 2, 1, 2, 60, 20, 2], [1, 4, 9, 186, 100, 5, 90, 5], [1, 19])
FEW_ALIVE = [0, 0, 100, 50, 0, 7, 3, 0]  # 3 is less than a tenth of the mean of these four
HALF = [[5, 5], [10, 0], [5, 5], [10, 0]]  # expert 1 rests in exactly half of the steps
MOST = [[5, 5, 0], [10, 0, 0], [10, 0, 0], [3, 40, 0]]


def _random(sizes: tuple[int, int], seed: int) -> dict[str, Any]:
    """Draw counts that differ much, some of them 0; in memory the rows do not touch."""
    random = generator(seed)
    n_steps, n_experts = sizes
    size = torch.randint(1, 60, (1, n_steps), generator=random)
    counts = (torch.rand(n_experts, n_steps, generator=random) ** 4 * size).long()
    counts[0] += 1
    return {"counts": counts.T}


def _told(*rows: list[int]) -> dict[str, Any]:
    return {"counts": torch.tensor(rows)}


def _cases(seed: int) -> list[dict[str, Any]]:
    told = (_told(*rows) for rows in (ONE_BIG, TURNS, COLLAPSE, EVEN))
    return [*told, *(_random(sizes, seed) for sizes in SIZES)]


def _loads(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Give the load of all steps together (E,), and of each step (S, E)."""
    rows = given["counts"].double()
    rows = rows[rows.sum(dim=1) > 0]
    return rows.sum(dim=0) / rows.sum(), rows / rows.sum(dim=1, keepdim=True)


@EXERCISE.stage("a dictionary")
def _report_form(answer: Any, seed: int) -> None:
    for given in (_told([1, 1, 1]), _told([2, 1], [1, 2])):
        got = answer(**given)
        require(
            isinstance(got, dict) and set(got) == set(KEYS),
            f"This is not a dictionary with the keys {', '.join(map(repr, KEYS))}.",
            cure="Return {" + ", ".join(f'"{key}": ...' for key in KEYS) + "}.",
            got=got,
            example=given,
        )
        floats, ints = KEYS[:3], KEYS[3:]
        require(
            all(isinstance(got[key], float | int) for key in floats)
            and all(type(got[key]) is int for key in ints),
            'The values are not plain Python numbers: an int for "dead" and "resting", a float '
            "for the others.",
            cause="Tensors come out of torch functions, also where they hold one number.",
            cure="`float(...)` and `int(...)` turn a tensor with one number into one.",
            got=got,
            example=given,
        )


@EXERCISE.stage("max_violation")
def _report_violation(answer: Any, seed: int) -> None:
    for given in _cases(seed):
        (load, loads), n_experts = _loads(given), given["counts"].shape[1]
        top = float(load.max())
        alive = float(load[load > 0].mean())
        slips = (
            (float(loads.mean(dim=0).max()) * n_experts - 1, _W["each step alike"]),
            (float(loads.max(dim=1).values.mean()) * n_experts - 1, _W["of steps"]),
            (top * n_experts, _W["no minus"]),
            (top - 1 / n_experts, _W["difference"]),
            (top / alive - 1, _W["alive"]),
            (float((load * n_experts - 1).abs().max()), _W["both sides"]),
        )
        got = answer(**given)["max_violation"]
        _require_value(got, top * n_experts - 1, slips, "max_violation", given)


@EXERCISE.stage("step_violation")
def _report_steps(answer: Any, seed: int) -> None:
    for given in _cases(seed):
        (load, loads), n_experts = _loads(given), given["counts"].shape[1]
        each = loads.max(dim=1).values * n_experts - 1
        weights = given["counts"].sum(dim=1).double()
        slips = (
            (float(load.max()) * n_experts - 1, _W["of all"]),
            (float(each.max()), _W["worst"]),
            (float(each.median()), _W["middle"]),
            (float((each * weights).sum() / weights.sum()), _W["weighed"]),
            (float(each.sum()), _W["summed"]),
        )
        got = answer(**given)["step_violation"]
        _require_value(got, float(each.mean()), slips, "step_violation", given)


@EXERCISE.stage("steps without a choice")
def _report_empty(answer: Any, seed: int) -> None:
    for rows in ([[3, 1], [0, 0]], [[0, 0, 0], *TURNS, [0, 0, 0]], [[0, 0], *HALF]):
        given, without = _told(*rows), _told(*(row for row in rows if sum(row)))
        got, expected = answer(**given), answer(**without)
        require(
            all(got[key] == expected[key] for key in KEYS),
            "A step without any choice changes the report, and it says nothing about balance.",
            cause="Nothing divided by nothing is not a number; and a step that is not there must "
            "not be counted when something is averaged over the steps.",
            cure="Take those rows out before anything else: `counts[counts.sum(dim=1) > 0]`.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("entropy")
def _report_entropy(answer: Any, seed: int) -> None:
    one = _told([3], [2])
    try:
        alone = answer(**one)["entropy"]
    except ZeroDivisionError:
        alone = math.nan
    require(
        abs(alone - 1) < 1e-6,
        "A single expert is even, entropy 1, and something else came out.",
        cause="ln 1 is 0, and nothing divided by nothing is no number.",
        cure="Answer 1.0 for a single expert, without a division.",
        expected=1.0,
        got=alone,
        example=one,
    )
    for given in _cases(seed):
        (load, loads), n_experts = _loads(given), given["counts"].shape[1]
        nats, n_alive = float(torch.special.entr(load).sum()), int((load > 0).sum())
        most = math.log(n_experts)
        each = float(torch.special.entr(loads).sum(dim=1).mean())
        slips = (
            (math.nan, _W["0 ln 0"]),
            (float(-(load * (load + 1e-6).log()).sum()) / most, _W["something added"]),
            (each / most, _W["entropy of steps"]),
            (nats, _W["nats"]),
            (nats / math.log(2), _W["bits"]),
            (nats / math.log2(n_experts), _W["two bases"]),
            (-nats / most, _W["sign"]),
            (nats / math.log(n_alive) if n_alive > 1 else 1.0, _W["alive entropy"]),
        )
        _require_value(answer(**given)["entropy"], nats / most, slips, "entropy", given)


def _count_cases(seed: int) -> list[dict[str, Any]]:
    """Give counts in which every limit matters, and random ones."""
    told = [_told(row) for row in ([50, 50, 49, 49, 1, 0, 0], [3], FEW_ALIVE, *BORDERS)]
    several = [_told(*rows) for rows in (TURNS, HALF, MOST, ONE_BIG)]
    return [*told, *several, *(_random(sizes, seed) for sizes in SIZES)]


@EXERCISE.stage("dead")
def _report_dead(answer: Any, seed: int) -> None:
    cases = _count_cases(seed)
    expected = [int(is_dead(_loads(given)[0]).sum()) for given in cases]
    symptom = '"dead" is not how many experts have less than a tenth of the fair share.'
    _require_counts(answer, "dead", cases, expected, symptom, DEAD)


@EXERCISE.stage("resting")
def _report_resting(answer: Any, seed: int) -> None:
    cases = _count_cases(seed)
    expected = []
    for load, loads in map(_loads, cases):
        often = is_dead(loads).double().mean(dim=0) > 0.5
        expected.append(int((often & ~is_dead(load)).sum()))
    symptom = (
        '"resting" is not how many experts are alive over all steps and dead in more than half of '
        "them."
    )
    _require_counts(answer, "resting", cases, expected, symptom, RESTING)


def _require_counts(
    answer: Any,
    key: str,
    cases: list[dict[str, Any]],
    expected: list[int],
    symptom: str,
    known: Any,
) -> None:
    got = [answer(**given)[key] for given in cases]
    why = Why("Another limit was taken.", "Less than 0.1 / E of the choices is dead.")
    for slip, words in known:
        if got == [int(slip(*_loads(given)).sum()) for given in cases]:
            why = words
            break
    for number, right, given in zip(got, expected, cases, strict=True):
        shown = {"expected": right, "got": number, "example": given}
        require(number == right, symptom, **why._asdict(), **shown)


def _require_value(
    got: Any, expected: float | int, slips: Iterable[tuple[float, Why]], key: str, given: Any
) -> None:
    why = _W[key]
    for value, words in slips:
        is_it = abs(got - value) < 2e-6 or (math.isnan(got) and math.isnan(value))
        if is_it and not abs(value - expected) < 1e-5:
            why = words
            break
    shown = {"expected": expected, "got": got, "example": given}
    symptom = f'"{key}" is not what its definition says, on this small example.'
    require(abs(got - expected) < 1e-5, symptom, **why._asdict(), **shown)
