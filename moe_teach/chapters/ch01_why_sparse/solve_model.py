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


@EXERCISE.stage("two numbers")
def _solve_pair(answer: Any, seed: int) -> None:
    got = answer(*KNOWN[0])
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        "Return two plain numbers, `shared, expert`, in this order.",
        cause="An array is not a pair: `tuple(...)` makes one of it.",
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
            expected=_solved(numbers),
            got=Words("a ValueError"),
            example=_example(numbers),
        )


@EXERCISE.stage("equations")
def _solve_equations(answer: Any, seed: int) -> None:
    for numbers in _designs(seed):
        expected, example = _solved(numbers), _example(numbers)
        got = _accepted(answer, numbers)
        swapped = close(tuple(got), expected[::-1]) and not close(expected[0], expected[1])
        require(
            not swapped,
            "These are the two right numbers in the wrong order: the shared part comes first.",
            expected=expected,
            got=got,
            example=example,
        )
        total, active, n_experts, top_k = numbers
        require(
            close(float(got[0] + n_experts * got[1]), float(total)),
            "Put back into the first equation, shared + n_experts * expert does not give the "
            "total.",
            cause="Is one expert the total divided by n_experts, as if nothing were shared?",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(float(got[0] + top_k * got[1]), float(active)),
            "Put back into the second equation, shared + top_k * expert does not give the active "
            "parameters, although the total is right.",
            cause="Divide the difference by the number of experts that rest.",
            expected=expected,
            got=got,
            example=example,
        )


def _refuses(answer: Any, numbers: Numbers, sentence: str) -> None:
    cure = "Look at the numbers first, and raise ValueError."
    try:
        got = answer(*numbers)
    except ValueError:
        return
    except ZeroDivisionError:
        got = Words("a ZeroDivisionError")
    except AssertionError:
        got = Words("an AssertionError")
        sentence = (
            "These numbers are refused, but by an AssertionError. An assert vanishes "
            "under `python -O`."
        )
        cure = "An assert is for your own mistakes; for bad input, raise ValueError."
    if isinstance(got, ValueError):
        sentence = "A ValueError was *returned*, and nobody notices that."
        cure = "Write `raise`, not `return`."
    refusal = Words("a ValueError")
    require(False, sentence, cure=cure, expected=refusal, got=got, example=_example(numbers))


@EXERCISE.stage("all experts active")
def _solve_all(answer: Any, seed: int) -> None:
    for n_experts in (1, 5, 16):
        sentence = (
            "With top_k = n_experts the two equations are one and the same, so there is nothing "
            "to solve."
        )
        _refuses(answer, (72.0, 70.0, n_experts, n_experts), sentence)
        sentence = (
            "A token cannot use more experts than there are. The text refuses every top_k that is "
            "not below n_experts, not only an equal one."
        )
        _refuses(answer, (72.0, 70.0, n_experts, n_experts + 1), sentence)


@EXERCISE.stage("dense")
def _solve_dense(answer: Any, seed: int) -> None:
    size = random.Random(seed).uniform(1.0, 400.0)
    sentence = (
        "Active is not below total here, as in a dense model: then its experts would have no "
        "parameters, or a negative number of them."
    )
    _refuses(answer, (size, size, 16, 2), sentence)
    _refuses(answer, (12.0, 72.0, 16, 2), sentence)


@EXERCISE.stage("negative shared part")
def _solve_negative(answer: Any, seed: int) -> None:
    size = random.Random(seed).uniform(1.0, 400.0)
    sentence = (
        "Active is less than top_k / n_experts of the total here, so the shared part is negative: "
        "no model has these numbers."
    )
    _refuses(answer, (72.0, 8.0, 16, 2), sentence)
    _refuses(answer, (8 * size, 0.9 * size, 16, 2), sentence)
    # Just below zero, and in units that make all numbers small.
    _refuses(answer, (8.0, 0.999, 16, 2), sentence)
    _refuses(answer, (0.072, 0.008, 16, 2), sentence)
    _refuses(answer, (72.0, 20.0, 3, 1), sentence)
