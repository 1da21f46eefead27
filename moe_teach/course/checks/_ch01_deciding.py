"""Chapter 01, exercises 1.5 and 1.6: what a batch wakes, and whether to buy."""

import math
import random
from itertools import product
from typing import Any

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require

DISTINCT = Exercise(
    id="1.5",
    name="expected_distinct",
    title="How many experts does a batch wake?",
    points=2,
    difficulty=3,
    importance=4,
    minutes=12,
    hints=(
        "Ask of one expert at a time: with what probability does *nobody* choose it? Expected "
        "values add up, even where the choices of one token depend on each other.",
        "One token leaves expert e alone with probability 1 - p_e. All n_tokens do so with "
        "probability (1 - p_e) ** n_tokens, because tokens choose independently.",
        "return sum(1 - (1 - p) ** n_tokens for p in choice_probs)",
    ),
    explanation="With equal probabilities p = K / E this is E (1 - (1 - K / E) ** B). Skew lowers "
    "it: a batch that agrees wakes fewer experts. The sum is exact although a token's choices "
    "exclude each other, because an expected value does not care about dependence.",
)


def _uniform(n_experts: int, top_k: int) -> list[float]:
    return [top_k / n_experts] * n_experts


def _skewed(seed: int, n_experts: int) -> list[float]:
    """Give unequal probabilities that sum to a whole top_k: pairs that make one, and extremes."""
    draw = random.Random(f"{seed} {n_experts}")
    n_pairs = max(1, (n_experts - 2) // 2)
    percents = [draw.randrange(1, 100) for _ in range(n_pairs)]
    pairs = [part / 100 for percent in percents for part in (percent, 100 - percent)]
    return pairs + [1.0, 0.0, 1.0][: n_experts - 2 * n_pairs]


@DISTINCT.stage("one token")
def _distinct_one(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((5, 2), (1, 1), (16, 2)):
        probs = _uniform(n_experts, top_k)
        got = answer(list(probs), 1)
        exact = float(top_k)
        require(
            top_k == n_experts or not close(got, n_experts - exact),
            "These are the experts that stay asleep. Subtract each from 1 before you add them up.",
            expected=exact,
            got=got,
            example={"choice_probs": probs, "n_tokens": 1},
        )
        require(
            close(got, exact),
            "One token wakes top_k experts, which is the sum of the probabilities. Give the exact "
            "expected value; a simulation only comes near it.",
            expected=exact,
            got=got,
            example={"choice_probs": probs, "n_tokens": 1},
        )


@DISTINCT.stage("no token, many tokens")
def _distinct_ends(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((1, 1), (5, 2)):
        probs = _uniform(n_experts, top_k)
        for n_tokens, expected in ((0, 0.0), (1000, float(n_experts))):
            got = answer(list(probs), n_tokens)
            require(
                close(got, expected),
                "No token wakes nobody, and a thousand tokens wake every expert but never more "
                "than there are.",
                expected=expected,
                got=got,
                example={"choice_probs": probs, "n_tokens": n_tokens},
            )


@DISTINCT.stage("two tokens, all cases listed")
def _distinct_listed(answer: Any, seed: int) -> None:
    for n_experts in (2, 3, 5):
        pairs = product(range(n_experts), repeat=2)
        cases = [len({first, second}) for first, second in pairs]
        expected = sum(cases) / len(cases)
        got = answer(_uniform(n_experts, 1), 2)
        require(
            close(got, expected),
            f"Two tokens choose one of {n_experts} experts each. Listing all {n_experts**2} cases "
            "gives another average. Two tokens may choose the same expert, which then counts once.",
            expected=expected,
            got=got,
            example={"choice_probs": _uniform(n_experts, 1), "n_tokens": 2},
        )


@DISTINCT.stage("uniform")
def _distinct_uniform(answer: Any, seed: int) -> None:
    for n_experts, top_k, n_tokens in ((7, 3, 2), (16, 2, 8), (64, 8, 13)):
        expected = n_experts * (1 - (1 - top_k / n_experts) ** n_tokens)
        got = answer(_uniform(n_experts, top_k), n_tokens)
        require(
            close(got, expected),
            "A token's top_k choices are different experts: it misses expert e with probability "
            "1 - p_e. Treating them as top_k independent draws counts too few.",
            expected=expected,
            got=got,
            example={
                "choice_probs": Words(f"[{top_k} / {n_experts}] * {n_experts}"),
                "n_tokens": n_tokens,
            },
        )


@DISTINCT.stage("skewed")
def _distinct_skewed(answer: Any, seed: int) -> None:
    for n_experts, n_tokens in ((3, 2), (5, 4), (11, 7)):
        probs = _skewed(seed, n_experts)
        expected = sum(1 - (1 - prob) ** n_tokens for prob in probs)
        got = answer(list(probs), n_tokens)
        require(
            close(got, expected),
            "With unequal probabilities each expert needs its own (1 - p_e) ** n_tokens; their "
            "mean does not do, because the power bends.",
            expected=expected,
            got=got,
            example={"choice_probs": probs, "n_tokens": n_tokens},
        )


BREAK_EVEN = Exercise(
    id="1.6",
    name="break_even",
    title="Buy or rent?",
    points=1,
    difficulty=1,
    importance=3,
    minutes=10,
    hints=(
        "What does owning the machine save you in one average hour on the calendar?",
        "In an hour you would pay use_share * rent; owning, you pay the running cost. The "
        "difference pays back the purchase, if there is a difference.",
        "saved = use_share * rent_usd_per_hour - running_usd_per_hour; "
        'return purchase_usd / saved if saved > 0 else float("inf")',
    ),
    explanation="The share of hours in use decides, not the price tag: at or below running / rent, "
    "buying never pays, however long you wait. The formula leaves out that hardware ages, that "
    "prices fall, and that money now is not money later; each of these speaks for renting.",
)


def _prices(seed: int) -> list[tuple[float, float, float, float]]:
    draw = random.Random(seed)
    rows = [(100.0, 0.0, 1.0, 1.0), (1000.0, 1.0, 3.0, 1.0), (1000.0, 0.5, 3.0, 0.5)]
    for _ in range(4):
        running = draw.uniform(0.1, 1.0)
        share = draw.uniform(0.2, 0.9)
        rent = (running + draw.uniform(0.1, 2.0)) / share
        rows.append((draw.uniform(1e3, 1e5), running, rent, share))
    return rows


def _price_example(prices: tuple[float, float, float, float]) -> dict[str, float]:
    names = ("purchase_usd", "running_usd_per_hour", "rent_usd_per_hour", "use_share")
    return dict(zip(names, prices, strict=True))


def _hours(prices: tuple[float, float, float, float]) -> float:
    purchase, running, rent, share = prices
    saved = share * rent - running
    return purchase / saved if saved > 0 else math.inf


def _compare(answer: Any, prices: tuple[float, float, float, float], sentence: str) -> None:
    expected, got = _hours(prices), answer(*prices)
    example = _price_example(prices)
    require(close(got, expected), sentence, expected=expected, got=got, example=example)


@BREAK_EVEN.stage("always in use")
def _even_always(answer: Any, seed: int) -> None:
    for purchase, running, rent, share in _prices(seed):
        prices = (purchase, running, rent * share, 1.0)
        sentence = (
            "Always in use, an hour of owning saves rent minus running cost. Owning is not free: "
            "does the running cost come in, with the right sign?"
        )
        _compare(answer, prices, sentence)


@BREAK_EVEN.stage("partly in use")
def _even_partly(answer: Any, seed: int) -> None:
    for prices in _prices(seed):
        expected, got = _hours(prices), answer(*prices)
        require(
            prices[3] == 1.0 or not close(got, prices[3] * expected),
            "These are hours of use. The question asks for hours on the calendar, of which you use "
            "only a part.",
            expected=expected,
            got=got,
            example=_price_example(prices),
        )
        sentence = (
            "Rent is paid only in the hours of use, running cost in every hour on the calendar. "
            "Which of the two does use_share multiply?"
        )
        _compare(answer, prices, sentence)


@BREAK_EVEN.stage("never")
def _even_never(answer: Any, seed: int) -> None:
    draw = random.Random(seed)
    size = draw.uniform(1.0, 9.0)
    for prices in ((10.0, 1.0, 1.0, 1.0), (10.0, 2.0, 3.0, 0.5), (500.0, size, size, 0.0)):
        try:
            got = answer(*prices)
        except ZeroDivisionError:
            got = Words("a ZeroDivisionError")
        require(
            not isinstance(got, Words),
            "Owning saves exactly nothing in an hour here, and nothing cannot be divided by. Look "
            'at the saving first, and return float("inf") when it is not positive.',
            expected=math.inf,
            got=got,
            example=_price_example(prices),
        )
        sentence = (
            "Owning saves nothing in any hour here, so the purchase is never paid back. Return "
            'float("inf"), the number: a negative number of hours says something else.'
        )
        _compare(answer, prices, sentence)
