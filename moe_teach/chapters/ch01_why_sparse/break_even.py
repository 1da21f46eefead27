"""Exercise 1.6: buy or rent?."""

import math
import random
from typing import Any

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
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
    rows = [
        (100.0, 0.0, 1.0, 1.0),
        (1000.0, 1.0, 3.0, 1.0),
        (1000.0, 0.5, 3.0, 0.5),
        (1000.0, 0.0, 3.0, 0.25),  # it runs for nothing
        (2e5, 0.25, 1.0, 0.2500001),  # saves next to nothing, and that is something
    ]
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


def _compare(
    answer: Any, prices: tuple[float, float, float, float], symptom: str, cause: str, cure: str
) -> None:
    expected, got = _hours(prices), answer(*prices)
    example = _price_example(prices)
    require(
        got != math.inf or expected == math.inf,
        "Owning saves something in every hour here, so the purchase is paid back one day.",
        cause="A tiny saving was taken for none.",
        cure="Compare the saving with zero, and with nothing else.",
        expected=expected,
        got=got,
        example=example,
    )
    require(
        close(got, expected),
        symptom,
        cause=cause,
        cure=cure,
        expected=expected,
        got=got,
        example=example,
    )


@EXERCISE.stage("always in use")
def _even_always(answer: Any, seed: int) -> None:
    for purchase, running, rent, share in _prices(seed):
        prices = (purchase, running, rent * share, 1.0)
        _compare(
            answer,
            prices,
            "Always in use, an hour of owning saves rent minus running cost, and these are other "
            "hours.",
            "The running cost is missing or has the wrong sign, hours were turned into months, "
            "or the share into a percentage.",
            "Divide the purchase by what one hour saves, rent minus running cost.",
        )


@EXERCISE.stage("partly in use")
def _even_partly(answer: Any, seed: int) -> None:
    for prices in _prices(seed):
        expected, got = _hours(prices), answer(*prices)
        require(
            prices[3] == 1.0 or not close(got, prices[3] * expected),
            "These are hours of use.",
            cause="The question asks for hours on the calendar, of which you use only a part.",
            cure="Multiply the rent by use_share, and do not scale the result once more.",
            expected=expected,
            got=got,
            example=_price_example(prices),
        )
        _compare(
            answer,
            prices,
            "Rent is paid only in the hours of use, running cost in every hour on the calendar, "
            "and that makes other hours.",
            "use_share multiplies another price than the rent alone, or none.",
            "An hour on the calendar saves use_share * rent_usd_per_hour - running_usd_per_hour.",
        )


@EXERCISE.stage("never")
def _even_never(answer: Any, seed: int) -> None:
    draw = random.Random(seed)
    size = draw.uniform(1.0, 9.0)
    exactly_nothing = ((10.0, 1.0, 1.0, 1.0), (10.0, 0.75, 1.5, 0.5), (10.0, 0.0, 2.0, 0.0))
    less = ((10.0, 2.0, 3.0, 0.5), (500.0, size, size, 0.0), (10.0, 0.5, 0.0, 1.0))
    for prices in (*exactly_nothing, *less):
        try:
            got = answer(*prices)
        except ZeroDivisionError:
            got = Words("a ZeroDivisionError")
        require(
            not isinstance(got, Words),
            "Owning saves exactly nothing in an hour here, and nothing cannot be divided by.",
            cause="The saving was not looked at before the division.",
            cure='Return float("inf") when it is not positive.',
            expected=math.inf,
            got=got,
            example=_price_example(prices),
        )
        _compare(
            answer,
            prices,
            "Owning saves nothing in any hour here, so the purchase is never paid back.",
            "A negative, very large or missing number of hours, or a text, stands for `never`.",
            'Where an hour saves nothing or less, return `float("inf")`.',
        )
