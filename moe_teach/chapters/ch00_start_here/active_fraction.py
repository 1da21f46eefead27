"""Exercise 0.2: how much of a model is active?."""

from typing import Any

import torch

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="0.2",
    name="active_fraction",
    title="How much of a model is active?",
    difficulty=1,
    importance=5,
    minutes=5,
    hints=(
        "Count two things: what is stored, and what one token touches. Then divide.",
        "Both counts contain the shared parameters. They differ in how many experts they count: "
        "all of them, or the chosen ones.",
        "`active = n_shared + top_k * n_per_expert`, and `total` is the same with `n_experts` "
        "instead of `top_k`. Return `active / total`.",
    ),
    explanation="Shared parameters stand above and below the line. That is why 2 of 16 experts "
    "active does not mean one-eighth of the cost: chapter 01 measures how much is lost to what "
    "is shared.",
)


def _fraction(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return (n_shared + top_k * n_per_expert) / (n_shared + n_experts * n_per_expert)


def _compare_fraction(
    answer: Any, sizes: tuple[int, int, int, int], symptom: str, cause: str, cure: str
) -> None:
    names = ("n_shared", "n_per_expert", "n_experts", "top_k")
    got, expected = answer(*sizes), _fraction(*sizes)
    require(
        close(got, expected),
        symptom,
        cause=cause,
        cure=cure,
        expected=expected,
        got=got,
        example=dict(zip(names, sizes, strict=True)),
    )


@EXERCISE.stage("a number")
def _is_a_number(answer: Any, _seed: int) -> None:
    got = answer(12, 16, 3, 2)
    tell = {
        "expected": Words("a float"),
        "got": got,
        "example": {"n_shared": 12, "n_per_expert": 16, "n_experts": 3, "top_k": 2},
    }
    require(
        type(got) is not int,
        "A whole number came, and the fraction lies between 0 and 1.",
        cause="`//` and `int(...)` drop what comes after the point.",
        cure="Divide with `/`.",
        **tell,
    )
    require(
        isinstance(got, float),
        f"The answer is not one plain float, but of type {type(got).__name__}.",
        cause="A tensor, a text, or two numbers that were never divided: none of them is a float.",
        cure="Divide the one count by the other with `/`, and return what comes out; `.item()` "
        "takes the number out of a tensor.",
        **tell,
    )


@EXERCISE.stage("nothing shared")
def _nothing_shared(answer: Any, seed: int) -> None:
    for n_experts in (1, 5, 13):
        size = int(torch.randint(1, 1000, (), generator=generator(seed)))
        top_k = int(torch.randint(1, n_experts + 1, (), generator=generator(seed)))
        _compare_fraction(
            answer,
            (0, size, n_experts, top_k),
            "With nothing shared the fraction is top_k / n_experts, whatever the experts' size.",
            "The wrong count is on top, the division comes before a sum, or other experts are "
            "counted than those that work.",
            "Put the parameters of the top_k experts above the line and those of all n_experts "
            "below it, each count in brackets of its own.",
        )


@EXERCISE.stage("dense")
def _dense_is_one(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_experts in (1, 3, 7):
        shared, size = torch.randint(1, 1000, (2,), generator=random).tolist()
        _compare_fraction(
            answer,
            (shared, size, n_experts, n_experts),
            "If every expert is chosen, all parameters are active and the fraction is 1.",
            "The shared parameters are missing in one of the two counts, or are counted once for "
            "each expert there.",
            "Add n_shared once above the line and once below it.",
        )


@EXERCISE.stage("values")
def _fraction_values(answer: Any, seed: int) -> None:
    random = generator(seed)
    # The last size is that of the largest models of today: past 32 bits.
    for n_experts, top_k, limit in ((2, 1, 99), (5, 2, 10**6), (16, 2, 10**6), (257, 8, 10**10)):
        shared, size = torch.randint(limit // 2, limit, (2,), generator=random).tolist()
        _compare_fraction(
            answer,
            (shared, size, n_experts, top_k),
            "This is not what is active divided by what is stored.",
            "The shared parameters work for every token, so they are part of the active number as "
            "well as of the total. (Integers of 32 bits and floats of 16 are too narrow for them.)",
            "Compute two plain numbers, n_shared + top_k * n_per_expert and n_shared + n_experts * "
            "n_per_expert, and divide the first by the second.",
        )
