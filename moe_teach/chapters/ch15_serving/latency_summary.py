"""Chapter 15, exercise 15.3: what people wait for."""

import math
from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="15.3",
    name="latency_summary",
    title="What people wait for",
    points=2,
    difficulty=2,
    importance=4,
    minutes=12,
    hints=(
        "Make two lists of plain numbers first, one of waits for a first token and one of gaps. "
        "Percentiles come last, and are the same little function for both.",
        "Sort. The p-th percentile of n values is the value at rank ceil(p * n / 100), counted "
        "from 1. No value lies between two others, so nothing is interpolated.",
        "rank = -(-p * n // 100) rounds up in whole numbers; ordered[rank - 1]. A request without "
        "tokens adds math.inf to the first list and nothing to the second.",
    ),
    explanation="Two habits make a server look better than it is. Leaving out who was never "
    "answered removes exactly the unlucky ones. And waiting for an answer before the next request "
    "is sent (a closed loop) lets the slow server set the pace of its own test, so that the queue "
    "never grows: arrivals must not depend on answers.",
)
_SKIPPED = "A request without tokens was skipped."
_RANK = "rank = -(-p * n // 100), with whole numbers only: 0.07 * 100 is more than 7."
Case = tuple[list[float], list[list[float]], tuple[int, ...]]
PLAIN: tuple[Case, ...] = (
    ([0.0], [[2.0]], (50, 95, 99)),
    ([1.0, 2.0], [[3.0, 4.5], [2.5, 3.0, 6.0]], (50, 100)),
    ([0.0, 0.0, 5.0], [[1.0, 2.0, 4.0], [3.0], [6.0, 6.25]], (1, 50, 99)),
)
UNANSWERED: tuple[Case, ...] = (
    ([0.0, 1.0, 2.0, 3.0], [[1.0, 2.0], [], [4.0], []], (25, 50, 75)),
    ([0.0], [[]], (50,)),
)


def _at(values: list[float], percent: int) -> float:
    """Go up through the values until enough do not exceed one."""
    for value in sorted(values):
        if 100 * sum(other <= value for other in values) >= percent * len(values):
            return value
    return math.nan


def _defined(case: Case) -> tuple[dict[int, float], dict[int, float]]:
    first, gaps = _lists(case)
    return {p: _at(first, p) for p in case[2]}, {p: _at(gaps, p) for p in case[2]}


def _lists(case: Case) -> tuple[list[float], list[float]]:
    arrived, token_times, _ = case
    first = [t[0] - a if t else math.inf for a, t in zip(arrived, token_times, strict=True)]
    return first, [t[i + 1] - t[i] for t in token_times for i in range(len(t) - 1)]


def _drawn(seed: int, n_requests: int) -> Case:
    random = generator(seed)
    arrived = torch.rand(n_requests, generator=random).cumsum(0).tolist()
    times = []
    for start in arrived:
        n_tokens = int(torch.randint(0, 6, (), generator=random))
        times.append((start + torch.rand(n_tokens, generator=random).cumsum(0)).tolist())
    return arrived, times, (1, 7, 50, 90, 95, 99, 100)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))


def _entries(percents: tuple[int, ...]) -> str:
    return "{" + ", ".join(f"{percent}: ..." for percent in percents) + "}"


def _between_two(values: list[float], percent: int) -> float:
    """Interpolate, as torch.quantile and numpy.percentile do where nobody says otherwise."""
    ordered, place = sorted(values), percent / 100 * (len(values) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high else low + (high - low) * (place % 1)


def _misranked(values: list[float], part: dict[int, float], percents: tuple[int, ...]) -> str:
    """Say which other percentiles of the right values these are."""
    if set(part) != set(percents):
        return ""
    if not values:
        return "There is no value here, and so no percentile either: `math.nan`."
    got = [float(part[p]) for p in percents]
    if all(map(_same, got, (_between_two(values, p) for p in percents))):
        return (
            "The values are right, and percentiles were taken between two of them. Here a "
            "percentile is one of the values: torch.quantile and numpy.percentile interpolate."
        )
    if all(any(_same(one, value) for value in values) for one in got):
        return "Each of these is one of the right values, but of another rank."
    return ""


def _misread(case: Case, got: Any) -> str:
    """Say which other wait gives exactly these percentiles of `first`."""
    arrived, times, percents = case
    if not all(times):
        return ""
    pairs = list(zip(arrived, times, strict=True))
    others = {
        "The clock was started at 0, and not when the request arrived.": [t[0] for t in times],
        "This is the wait for the whole answer, not for its first token.": [
            t[-1] - start for start, t in pairs
        ],
    }
    for words, values in others.items():
        if all(_same(float(got[0][p]), _at(values, p)) for p in percents):
            return words
    return ""


def _try(answer: Any, case: Case, said: str, cause: str, cure: str) -> None:
    got = answer(case[0], [list(times) for times in case[1]], case[2])
    lists = zip(("first", "between"), got, _lists(case), _defined(case), strict=True)
    for name, part, values, expected in lists:
        misread = _misread(case, got) if name == "first" else ""
        other = "" if cause == _SKIPPED else misread or _misranked(values, part, case[2])
        require(
            list(part) == list(expected)
            and all(_same(float(part[p]), expected[p]) for p in expected),
            f"`{name}`: {said}",
            cause=other or cause,
            cure=_RANK if other and not misread else cure,
            expected=expected,
            got=part,
            example={"arrived": case[0], "token_times": case[1], "percents": case[2]},
        )


@EXERCISE.stage("two dictionaries")
def _dictionaries(answer: Any, seed: int) -> None:
    for percents in ((50, 95, 99), (10,)):
        got = answer([0.0, 1.0], [[1.0, 2.0], [3.0, 5.0]], percents)
        ok = isinstance(got, tuple) and len(got) == 2 and all(isinstance(p, dict) for p in got)
        require(
            ok and all(set(part) == set(percents) for part in got),
            "Return two dictionaries, each with an entry for every percent that was asked for.",
            cure="return percentiles(first), percentiles(between)",
            expected=Words(f"({_entries(percents)}, {_entries(percents)})"),
            got=got,
            example={"percents": percents},
        )
    default = answer([0.0], [[1.0]])
    require(
        all(list(part) == [50, 95, 99] for part in default),
        "Without `percents`, the 50th, 95th and 99th are reported.",
        cure="Keep the default of the stub.",
        got=default,
    )


@EXERCISE.stage("waits and gaps")
def _plain(answer: Any, seed: int) -> None:
    for case in PLAIN:
        _try(
            answer,
            case,
            "these are not the percentiles of the waits.",
            "The wait for the first token counts from the arrival; gaps lie between neighbours of "
            "one answer, and those of all answers are one list.",
            "Print the two lists before you sort them.",
        )


@EXERCISE.stage("nobody is left out")
def _unanswered(answer: Any, seed: int) -> None:
    for case in UNANSWERED:
        _try(
            answer,
            case,
            "somebody was never answered, and the summary does not say so.",
            _SKIPPED,
            "Its first token counts as math.inf; it has no gaps, and of no gaps at all the "
            "percentile is math.nan.",
        )


@EXERCISE.stage("ranks")
def _ranks(answer: Any, seed: int) -> None:
    for n_requests in (1, 2, 7, 20, 100):
        _try(
            answer,
            _drawn(1000 * seed + n_requests, n_requests),
            "the lists are right for a few values, and the percentiles of many are not.",
            "A percentile is one of the values: the rank is p * n / 100, rounded up, counted from "
            "1. Interpolation, rounding down or a mean give something else.",
            _RANK,
        )
