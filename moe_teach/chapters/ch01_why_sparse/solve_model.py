"""Chapter 01, exercise 1.4: what two published numbers say about the inside."""

import random
from typing import Any

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require

Numbers = tuple[float | int, float | int, int, int]  # total, active, experts, top_k

EXERCISE = Exercise(
    id="1.4",
    name="solve_model",
    title="Look inside a model through two numbers",
    points=2,
    difficulty=2,
    importance=4,
    minutes=15,
    hints=(
        "Subtract the two equations: the shared part disappears and one unknown is left.",
        "total - active = (n_experts - top_k) x. Put x back into the second equation for the "
        "shared part. Look at the three impossible cases before and after.",
        "if top_k >= n_experts or active >= total: raise ValueError(...); "
        "x = (total - active) / (n_experts - top_k); shared = active - top_k * x; "
        "if shared < 0: raise ValueError(...); return shared, x.",
    ),
    explanation="Two equations, two unknowns, and no more: depth, width and vocabulary stay "
    "unknown, so many different models carry the same two numbers. The refusals matter as much as "
    "the solution. An announcement whose shared part comes out negative has a mistake in it.",
)
# (total, active, n_experts, top_k) with exact answers
KNOWN = (
    (10.0, 4.0, 3, 1),
    (20.0, 8.0, 5, 2),
    (16.0, 2.0, 16, 2),  # nothing is shared
    (0.03125, 0.015625, 3, 1),  # in trillions
    (46_702_792_704, 12_879_925_248, 8, 2),  # in parameters: Mixtral 8x7B
)


def _designs(seed: int) -> list[tuple[float, float, int, int]]:
    draw = random.Random(seed)
    made = []
    for n_experts, top_k in ((2, 1), (7, 3), (16, 2), (127, 8)):
        shared, expert = draw.uniform(0.5, 5.0), draw.uniform(0.1, 9.0)
        made.append((shared + n_experts * expert, shared + top_k * expert, n_experts, top_k))
    return [*KNOWN, *made]


def _example(numbers: Numbers) -> dict[str, Any]:
    return dict(zip(("total", "active", "n_experts", "top_k"), numbers, strict=True))


def _solved(numbers: Numbers) -> tuple[float, float]:
    total, active, n_experts, top_k = numbers
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


def _rounded(pair: tuple[float, float], digits: int) -> tuple[float, float]:
    return round(pair[0], digits), round(pair[1], digits)


@EXERCISE.stage("two numbers")
def _solve_pair(answer: Any, seed: int) -> None:
    got = answer(*KNOWN[0])
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        "This is not a pair of numbers.",
        cause="One number alone, an array, a dictionary: none of them is `shared, expert`.",
        cure="End in `return shared, expert`, two plain numbers in this order.",
        got=got,
        example=_example(KNOWN[0]),
    )


def _accepted(answer: Any, numbers: Numbers) -> Any:
    """Give the answer for numbers that describe a sparse model; to refuse them is wrong."""
    try:
        return answer(*numbers)
    except ValueError:
        require(
            False,
            "These numbers describe a sparse model, and they were refused.",
            cause="A shared part of exactly zero is none below zero, and every unit is allowed.",
            cure="Refuse only what the three conditions name: `<` where the text says below.",
            expected=_solved(numbers),
            got=Words("a ValueError"),
            example=_example(numbers),
        )


def _require_both(got: Any, numbers: Numbers) -> None:
    expected, example = _solved(numbers), _example(numbers)
    total, active, n_experts, top_k = numbers
    require(
        close(tuple(got), expected)
        or not any(close(tuple(got), _rounded(expected, digits)) for digits in range(4)),
        "These are the two right numbers, rounded.",
        cause="`round`, `int` or // took digits off.",
        cure="Divide with /, and return both as they are.",
        expected=expected,
        got=got,
        example=example,
    )
    require(
        close(float(got[0] + n_experts * got[1]), float(total)),
        "Put back into the first equation, shared + n_experts * expert does not give the total.",
        cause="One expert is not the total divided by n_experts (something is shared), and a "
        "turned sign or `n_experts` in the place of `top_k` leads here too.",
        cure="Compute expert = (total - active) / (n_experts - top_k), and from it shared = "
        "active - top_k * expert.",
        expected=expected,
        got=got,
        example=example,
    )
    require(
        close(float(got[0] + top_k * got[1]), float(active)),
        "Put back into the second equation, shared + top_k * expert does not give the active "
        "parameters, although the total is right.",
        cause="The difference of the two numbers is not divided by the experts that rest.",
        cure="expert = (total - active) / (n_experts - top_k).",
        expected=expected,
        got=got,
        example=example,
    )


@EXERCISE.stage("equations")
def _solve_equations(answer: Any, seed: int) -> None:
    for numbers in _designs(seed):
        expected, example = _solved(numbers), _example(numbers)
        got = _accepted(answer, numbers)
        swapped = close(tuple(got), expected[::-1]) and not close(expected[0], expected[1])
        require(
            not swapped,
            "These are the two right numbers in the wrong order.",
            cause="The shared part comes first.",
            cure="Return `shared, expert`.",
            expected=expected,
            got=got,
            example=example,
        )
        _require_both(got, numbers)


def _refuses(answer: Any, numbers: Numbers, cause: str, condition: str) -> None:
    symptom = "These numbers describe no sparse model, and they were not refused."
    cure = f"Write `if {condition}: raise ValueError(...)` before you return."
    try:
        got = answer(*numbers)
    except ValueError:
        return
    except ZeroDivisionError:
        got = Words("a ZeroDivisionError")
    except AssertionError:
        got = Words("an AssertionError")
        symptom = "These numbers are refused, but by an AssertionError."
        cause = "An assert is for your own mistakes, and vanishes under `python -O`."
        cure = f"For bad input, write `if {condition}: raise ValueError(...)`."
    if isinstance(got, ValueError):
        symptom = "A ValueError was *returned*, and nobody notices that."
        cause = "`return` hands the error over like any result; only `raise` stops the caller."
        cure = "Write `raise`, not `return`."
    require(
        False,
        symptom,
        cause=cause,
        cure=cure,
        expected=Words("a ValueError"),
        got=got,
        example=_example(numbers),
    )


@EXERCISE.stage("all experts active")
def _solve_all(answer: Any, seed: int) -> None:
    for n_experts in (1, 5, 16):
        cause = (
            "With top_k = n_experts the two equations are one and the same, so there is nothing "
            "to solve."
        )
        condition = "top_k >= n_experts"
        _refuses(answer, (72.0, 70.0, n_experts, n_experts), cause, condition)
        cause = (
            "A token cannot use more experts than there are: every top_k that is not below "
            "n_experts is refused, not only an equal one."
        )
        _refuses(answer, (72.0, 70.0, n_experts, n_experts + 1), cause, condition)


@EXERCISE.stage("dense")
def _solve_dense(answer: Any, seed: int) -> None:
    size = random.Random(seed).uniform(1.0, 400.0)
    cause = (
        "Active is not below total here, as in a dense model: then its experts would have no "
        "parameters, or a negative number of them."
    )
    _refuses(answer, (size, size, 16, 2), cause, "active >= total")
    _refuses(answer, (12.0, 72.0, 16, 2), cause, "active >= total")


@EXERCISE.stage("negative shared part")
def _solve_negative(answer: Any, seed: int) -> None:
    size = random.Random(seed).uniform(1.0, 400.0)
    cause = (
        "Active is less than top_k / n_experts of the total here, so the shared part is negative: "
        "no model has these numbers."
    )
    refused = ((72.0, 8.0, 16, 2), (8 * size, 0.9 * size, 16, 2), (72.0, 20.0, 3, 1))
    # Just below zero, and in units that make all numbers small.
    nearly = ((8.0, 0.999, 16, 2), (0.072, 0.008, 16, 2), (7.0, 0.999, 7, 1))
    for numbers in (*refused, *nearly):
        _refuses(answer, numbers, cause, "shared < 0")
