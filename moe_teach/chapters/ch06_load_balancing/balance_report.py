"""Chapter 06, exercise 6.4: three numbers that say whether a router is balanced."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import (
    call_with_idle_experts,
    even_ids,
    ids_of_counts,
    random_ids,
)
from moe_teach.chapters.ch06_load_balancing.report_slips import DEAD as _DEAD
from moe_teach.chapters.ch06_load_balancing.report_slips import WORDS as _W
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.reasons import Why

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
ONE_IDLE = [4, 5, 5, 5, 0]  # further below the fair share than anybody is above it
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
            'This is not a dictionary with the keys "max_violation", "entropy" and "dead".',
            cure='Return {"max_violation": ..., "entropy": ..., "dead": ...}.',
            got=got,
            example=given,
        )
        require(
            all(isinstance(got[key], float | int) for key in KEYS) and type(got["dead"]) is int,
            'The values are not plain Python numbers: a float for "max_violation" and "entropy", '
            'an int for "dead".',
            cause="Tensors come out of torch functions, also where they hold one number.",
            cure="`float(...)` and `int(...)` turn a tensor with one number into one.",
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
        "With an idle expert the entropy is not a number.",
        cause="0 * log(0) is none in floating point, and its limit is 0.",
        cure="`torch.special.entr` knows that; or leave the idle experts out of this sum.",
        got=got,
        example=given,
    )


@EXERCISE.stage("max_violation")
def _report_violation(answer: Any, seed: int) -> None:
    cases = [*(_case(sizes, seed) for sizes in SIZES), _counted(COLLAPSE, seed)]
    for given in (*cases, _counted(EVEN, seed), _counted(ONE_IDLE, seed)):
        load, n_experts = _load(given), given["n_experts"]
        top, mean = float(load.max()), 1 / n_experts
        expected, got = top / mean - 1, answer(**given)["max_violation"]
        alive = float(load[load > 0].mean())
        top_k, idlest = given["expert_ids"].shape[1], float(load.min())
        slips = (
            (top / mean, _W["no minus"]),
            (top - mean, _W["difference"]),
            ((top - mean) * given["expert_ids"].numel(), _W["of counts"]),
            (top / alive - 1, _W["alive"]),
            (top / idlest - 1 if idlest else math.inf, _W["idlest"]),
            (top / mean * top_k - 1, _W["by tokens"]),
            (float((load / mean - 1).abs().max()), _W["both sides"]),
        )
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
        "A single expert is even, entropy 1, and something else came out.",
        cause="ln 1 is 0, and nothing divided by nothing is no number.",
        cure="Answer 1.0 for a single expert, without a division.",
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
        slips = (
            (nats, _W["nats"]),
            (nats / math.log(2), _W["bits"]),
            (nats / math.log2(n_experts), _W["two bases"]),
            (nats / n_experts / math.log(n_experts), _W["mean"]),
            (-nats / math.log(n_experts), _W["sign"]),
            (nats / math.log(n_alive) if n_alive > 1 else 1.0, _W["alive entropy"]),
        )
        _require_value(got, nats / math.log(n_experts), slips, "entropy", given)


@EXERCISE.stage("dead")
def _report_dead(answer: Any, seed: int) -> None:
    # 199 tokens: one expert with a single token is under a tenth of the fair share, not idle.
    told = [
        _counted(counts, seed) for counts in ([50, 50, 49, 49, 1, 0, 0], [3], FEW_ALIVE, *BORDERS)
    ]
    pairs = torch.tensor([[0, 1]] * 3 + [[1 + t % 4, 1 + (t + 1) % 4] for t in range(97)])
    # A tenth of the fair share of 200 choices is 4; of 100 tokens it would be 2.
    told.append({"expert_ids": pairs, "n_experts": 5})
    cases = [*told, *(_case(sizes, seed) for sizes in SIZES)]
    got = [answer(**given)["dead"] for given in cases]
    expected = [int((_load(given) < 0.1 / given["n_experts"]).sum()) for given in cases]
    symptom = '"dead" is not how many experts have less than a tenth of the fair share.'
    why = Why("Another limit was taken.", "Count the experts whose load is below 0.1 / E.")
    for slip, words in _DEAD:
        if got == [_called_dead(slip, given) for given in cases]:
            why = words
            break
    for number, right, given in zip(got, expected, cases, strict=True):
        shown = {"expected": right, "got": number, "example": given}
        require(number == right, symptom, **why._asdict(), **shown)


def _called_dead(slip: Callable[..., Tensor], given: dict[str, Any]) -> int:
    return int(slip(_load(given), given["n_experts"], given["expert_ids"].shape[1]).sum())


def _require_value(
    got: Any,
    expected: float | int,
    slips: Iterable[tuple[float, Why]],
    key: str,
    given: dict[str, Any],
) -> None:
    symptom, why = f'"{key}" is not what its definition says, on this small example.', _W[key]
    for value, words in slips:
        is_it = got == value or abs(got - value) < 1e-5
        if is_it and abs(value - expected) > 1e-5:
            why = words
            break
    is_right = abs(got - expected) < 1e-5
    shown = {"expected": expected, "got": got, "example": given}
    require(is_right, symptom, **why._asdict(), **shown)
