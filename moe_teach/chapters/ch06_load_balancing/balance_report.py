"""Chapter 06, exercise 6.4: three numbers that say whether a router is balanced."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import (
    call_with_idle_experts,
    even_ids,
    ids_of_counts,
    random_ids,
)
from moe_teach.judging.exercise import Exercise, require

EXERCISE = Exercise(
    id="6.4",
    name="balance_report",
    title="Read a load",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "All three numbers are read off the load, the share of the choices for each of the E "
        "experts. Make it first, with zeros for those whom nobody chose.",
        "MaxVio is `load.max() / (1 / E) - 1`. `torch.special.entr(load)` is -f ln f and knows "
        "that 0 ln 0 is 0. Dead means load < 0.1 / E.",
        'load = bincount(...).double() / expert_ids.numel(); "max_violation": float(load.max() * E '
        '- 1); "entropy": entr(load).sum() / math.log(E), 1.0 if E is 1; "dead": int((load < 0.1 / '
        "E).sum())",
    ),
    explanation="The three look at different ends. MaxVio sees the busiest expert, the one the "
    "others wait for in parallel training. Dead experts are paid for in memory and give nothing. "
    "Entropy sums everything up, and hides both: of 64 experts 6 can be dead while it still says "
    "0.976.",
)

KEYS = ("max_violation", "entropy", "dead")
SIZES = ((2, 2, 1), (3, 5, 2), (7, 11, 3), (31, 13, 1), (97, 5, 1), (5, 4, 4))  # T, E, K
COLLAPSE, EVEN = [7, 0, 0], [4, 4, 4, 4, 4]  # tokens of each expert
# The fair shares are 20, 50 and 10 tokens, so a tenth of them is 2, 5 and 1: some experts stand
# exactly there, one token below, one above, and below two tenths.
BORDERS = ([70, 3, 2, 1, 2, 60, 20, 2], [1, 4, 9, 186, 100, 5, 90, 5], [1, 19])
FEW_ALIVE = [0, 0, 100, 50, 0, 7, 3, 0]  # 3 is less than a tenth of the mean of these four


def _case(sizes: tuple[int, int, int], seed: int) -> dict[str, Any]:
    return {"expert_ids": random_ids(*sizes, seed), "n_experts": sizes[1]}


def _counted(counts: list[int], seed: int) -> dict[str, Any]:
    return {"expert_ids": ids_of_counts(counts, seed), "n_experts": len(counts)}


def _load(given: dict[str, Any]) -> Tensor:
    ids = given["expert_ids"].flatten()
    return torch.bincount(ids, minlength=given["n_experts"]).double() / ids.numel()


def _entropy(load: Tensor) -> float:
    return float(torch.special.entr(load).sum())


@EXERCISE.stage("a dictionary")
def _report_form(answer: Any, seed: int) -> None:
    for sizes in ((3, 3, 1), (5, 5, 2)):
        given = {"expert_ids": even_ids(*sizes), "n_experts": sizes[1]}
        got = answer(**given)
        require(
            isinstance(got, dict) and set(got) == set(KEYS),
            'Return a dictionary with the keys "max_violation", "entropy" and "dead".',
            got=got,
            example=given,
        )
        require(
            all(isinstance(got[key], float | int) for key in KEYS) and type(got["dead"]) is int,
            'Plain Python numbers, please: a float for "max_violation" and "entropy", an int for '
            '"dead". `float(...)` and `int(...)` turn a tensor with one number into one.',
            got=got,
            example=given,
        )


@EXERCISE.stage("idle experts")
def _report_idle(answer: Any, seed: int) -> None:
    given = {"expert_ids": torch.tensor([[0], [1], [0]]), "n_experts": 5}
    got = call_with_idle_experts(
        answer, given, "They need a load, 0: give bincount `minlength=n_experts`."
    )
    require(
        not math.isnan(got["entropy"]),
        "The entropy is not a number, because 0 * log(0) is none in floating point. Its limit is "
        "0: `torch.special.entr` knows that, or leave the idle experts out of this sum.",
        got=got,
        example=given,
    )


@EXERCISE.stage("max_violation")
def _report_violation(answer: Any, seed: int) -> None:
    cases = [*(_case(sizes, seed) for sizes in SIZES), _counted(COLLAPSE, seed)]
    for given in (*cases, _counted(EVEN, seed)):
        load, n_experts = _load(given), given["n_experts"]
        top, mean = float(load.max()), 1 / n_experts
        expected, got = top / mean - 1, answer(**given)["max_violation"]
        alive = float(load[load > 0].mean())
        slips = {
            "This is the busiest load over the fair share, and MaxVio is that minus 1: even "
            "routing must give 0.": top / mean,
            "This is the difference between the busiest load and the fair share. Take their "
            "ratio, minus 1: a difference shrinks as experts become more.": top - mean,
            "This is the difference between the busiest count and the mean count. Take their "
            "ratio, minus 1: a difference grows with the batch.": (top - mean)
            * given["expert_ids"].numel(),
            "The mean was taken over the experts that have tokens. The idle ones belong to it, "
            "with 0: the fair share is 1/E.": top / alive - 1,
            "The busiest was compared with the idlest. MaxVio compares it with the fair share, "
            "1/E.": top / max(float(load.min()), 1e-30) - 1 if load.min() > 0 else math.inf,
            "The counts were divided by T. Each token makes k choices, and the loads must sum to "
            "1: divide by all of them.": top / mean * given["expert_ids"].shape[1] - 1,
            "The deviation to either side was taken. MaxVio looks up only, at the busiest "
            "expert.": float((load / mean - 1).abs().max()),
        }
        _require_value(got, expected, slips, "max_violation", given)


@EXERCISE.stage("entropy")
def _report_entropy(answer: Any, seed: int) -> None:
    one = {"expert_ids": torch.zeros(3, 1, dtype=torch.long), "n_experts": 1}
    try:
        alone = answer(**one)
    except ZeroDivisionError:
        alone = {"entropy": math.nan}
    require(
        abs(alone["entropy"] - 1) < 1e-6,
        "A single expert is even, entropy 1. ln 1 is 0, so the division needs a way around it.",
        expected=1.0,
        got=alone["entropy"],
        example=one,
    )
    _require_value(alone["max_violation"], 0.0, {}, "max_violation", one)
    cases = [*(_case(sizes, seed) for sizes in SIZES), _counted(COLLAPSE, seed)]
    for given in (*cases, _counted(EVEN, seed)):
        load, n_experts = _load(given), given["n_experts"]
        nats, n_alive = _entropy(load), int((load > 0).sum())
        got = answer(**given)["entropy"]
        slips = {
            "The entropy is in nats and grows with the number of experts. Divide it by its "
            "maximum, ln E.": nats,
            "The entropy is in bits and grows with the number of experts. Divide it by its "
            "maximum: log2(E) for bits.": nats / math.log(2),
            "Two different logarithms were mixed, one of base 2. The base cancels only if both "
            "have the same.": nats / math.log2(n_experts),
            "The entropy is a sum over the experts, and here it was averaged.": nats
            / n_experts
            / math.log(n_experts),
            "The sign is wrong: f ln f is never positive, and the entropy is minus its sum.": -nats
            / math.log(n_experts),
            "The entropy was divided by the logarithm of the number of experts that have tokens. "
            "Then two of 100 experts look even: divide by ln E.": nats / math.log(n_alive)
            if n_alive > 1
            else 1.0,
        }
        _require_value(got, nats / math.log(n_experts), slips, "entropy", given)


@EXERCISE.stage("dead")
def _report_dead(answer: Any, seed: int) -> None:
    # 199 tokens: one expert with a single token is under a tenth of the fair share, not idle.
    told = [
        _counted(counts, seed) for counts in ([50, 50, 49, 49, 1, 0, 0], [3], FEW_ALIVE, *BORDERS)
    ]
    cases = [*told, *(_case(sizes, seed) for sizes in SIZES)]
    got = [answer(**given)["dead"] for given in cases]
    expected = [int((_load(given) < 0.1 / given["n_experts"]).sum()) for given in cases]
    symptom, cause = '"dead" is not how many experts have less than a tenth of the fair share.', ""
    for sentence, slip in _DEAD.items():
        if got == [int(slip(_load(given), given["n_experts"]).sum()) for given in cases]:
            cause = sentence
            break
    for number, right, given in zip(got, expected, cases, strict=True):
        require(number == right, symptom, cause=cause, expected=right, got=number, example=given)


_DEAD = {
    "Only experts without any token were counted. Less than a tenth of the fair share is dead too: "
    "such an expert hardly learns.": lambda load, n_experts: load == 0,
    "The limit is a tenth of the *fair share*, 0.1 / E, and not a tenth of all choices.": (
        lambda load, n_experts: load < 0.1
    ),
    "These are the experts that live. Count those below the limit.": (
        lambda load, n_experts: load >= 0.1 / n_experts
    ),
    "The limit is a tenth of the fair share; here everyone below the whole fair share was called "
    "dead.": lambda load, n_experts: load < 1 / n_experts,
    "An expert with exactly a tenth of the fair share was called dead. *Less* than a tenth is.": (
        lambda load, n_experts: load <= 0.1 / n_experts
    ),
    "The limit is a tenth of the fair share, and not of the busiest expert's load.": (
        lambda load, n_experts: load < 0.1 * load.max()
    ),
    "The fair share was taken among the experts that have tokens. It is 1/E, the idle ones "
    "included.": lambda load, n_experts: load < 0.1 * load[load > 0].mean(),
}


def _require_value(
    got: Any, expected: float | int, slips: dict[str, Any], key: str, given: dict[str, Any]
) -> None:
    symptom, cause = f'"{key}" is not what its definition says, on this small example.', ""
    for sentence, value in slips.items():
        is_it = got == value or abs(got - value) < 1e-5
        if is_it and abs(value - expected) > 1e-5:
            cause = sentence
            break
    is_right = abs(got - expected) < 1e-5
    require(is_right, symptom, cause=cause, expected=expected, got=got, example=given)
