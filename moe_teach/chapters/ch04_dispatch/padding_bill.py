"""Exercise 4.6: the bill for the rectangle."""

from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, generator, require

EXERCISE = Exercise(
    id="4.6",
    name="padding_bill",
    title="The bill for the rectangle",
    points=1,
    difficulty=2,
    importance=3,
    minutes=10,
    hints=(
        "Count rows first and multiply at the end. How many choices of one expert find a place?",
        "`tokens_per_expert.clamp(max=capacity)` is that, for all experts. All places together: "
        "E · capacity. A row costs 3 matrices · 2 FLOPs · d_model · d_ff.",
        "used = int(tokens_per_expert.clamp(max=capacity).sum()); useful, wasted, missing = used, "
        "E * capacity - used, int(tokens_per_expert.sum()) - used; times 6 * d_model * d_ff.",
    ),
    explanation="A capacity below the busiest expert's count makes both mistakes at once: places "
    "stay empty at the unpopular experts while choices are lost at the popular ones. At factor 1.0 "
    "the two are equal, up to the rounding of the capacity.",
)


COUNTS = ([3], [0, 2], [5, 1], [4, 4, 1], [0, 9, 2, 3, 3], [0, 0], list(range(16)))


def _bill_case(counts: list[int], seed: int) -> tuple[dict[str, Any], tuple[int, int, int]]:
    extra = int(torch.randint(0, 3, (1,), generator=generator(seed)))
    return _bill(counts, 2 + extra, 3 + extra, 7 + extra)


def _bill(
    counts: list[int], capacity: int, d_model: int, d_ff: int
) -> tuple[dict[str, Any], tuple[int, int, int]]:
    used = sum(min(count, capacity) for count in counts)
    rows = (used, capacity * len(counts) - used, sum(counts) - used)
    useful, wasted, missing = (6 * d_model * d_ff * n for n in rows)
    given = {"capacity": capacity, "d_model": d_model, "d_ff": d_ff}
    return {"tokens_per_expert": torch.tensor(counts), **given}, (useful, wasted, missing)


@EXERCISE.stage("three integers")
def _bill_form(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, _ = _bill_case(counts, seed)
        got = answer(**given)
        is_triple = isinstance(got, tuple | list) and len(got) == 3
        require(
            is_triple and all(type(part) is int for part in got),
            "These are not three plain integers, `useful, wasted, missing`.",
            cause="They are tensors or floats, have names, or come one for each expert.",
            cure="`int(...)` turns a tensor with one entry into one; return the three with commas "
            "between them.",
            got=got,
            example=given,
        )


@EXERCISE.stage("useful")
def _bill_useful(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, expected = _bill_case(counts, seed)
        got = answer(**given)
        facts = {"expected": expected[0], "got": got[0], "example": given}
        row = 6 * given["d_model"] * given["d_ff"]
        others = [row * part // 6 * (expected[0] // row) for part in (1, 2, 3, 4)]
        require(
            got[0] == expected[0] or got[0] not in others,
            "The number of rows is right, their price is not.",
            cause="A SwiGLU expert has *three* matrices, and each of their numbers costs a "
            "multiplication *and* an addition.",
            cure="A row costs 6 · D · F.",
            **facts,
        )
        require(
            got[0] == expected[0],
            "`useful` is not the price of the choices that got a place.",
            cause="Places were counted over all experts at once, or every choice or every place "
            "was "
            "taken for a used one; or a number of 32 bits ran over.",
            cure="An expert uses at most `capacity` places, and no more than it was chosen: "
            "`tokens_per_expert.clamp(max=capacity).sum()`.",
            **facts,
        )


@EXERCISE.stage("wasted and missing")
def _bill_rest(answer: Any, seed: int) -> None:
    for counts in COUNTS:
        given, expected = _bill_case(counts, seed)
        got = tuple(answer(**given))
        require(
            got[1] >= 0 and got[2] >= 0,
            "A negative bill: nobody pays less than nothing.",
            cause="Empty places at one expert were set off against missing ones at another.",
            cure="They do not help each other; count both expert by expert.",
            expected=expected,
            got=got,
            example=given,
        )
        require(
            got == expected,
            "`wasted` is for places that stayed empty, `missing` for choices without a place, and "
            "one of them is another number.",
            cause="They are swapped, count rows and not FLOPs, leave out experts without a choice, "
            "or one of them holds all places or all choices.",
            cure="They are all places minus the used ones, and all choices minus the used ones, "
            "times the price of a row.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("no places")
def _bill_no_places(answer: Any, seed: int) -> None:
    given, expected = _bill([3, 0, 5], 0, 3, 7)
    got = tuple(answer(**given))
    require(
        got == expected,
        "With capacity 0 the bill is another one.",
        cause="A capacity of 0 was taken for a case of its own, or for 1.",
        cure="Then there is no place to use or to waste, and every choice is missing: the formulas "
        "say so by themselves.",
        expected=expected,
        got=got,
        example=given,
    )


@EXERCISE.stage("large numbers")
def _bill_large(answer: Any, seed: int) -> None:
    given, expected = _bill([2**31 + 60, 2**24 + 1, 5], 2**31 + 1, 4_097, 14_337)
    got = tuple(answer(**given))
    require(
        got == expected,
        "Small bills are right and this large one is not.",
        cause="float32 counts to 2^24 without gaps, int32 ends at 2^31, and even float64 knows "
        "only some of the integers past 2^53.",
        cure="Multiply Python integers, or torch's int64.",
        expected=expected,
        got=got,
        example=given,
    )
