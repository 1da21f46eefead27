"""Exercise 1.2: count what one token uses."""

import random
from typing import Any

from moe_teach.chapters.ch01_why_sparse.count_parts import KEYS, require_exact, require_integer
from moe_teach.judging.exercise import Exercise, require

EXERCISE = Exercise(
    id="1.2",
    name="count_active",
    title="Count what one token uses",
    points=1,
    difficulty=1,
    importance=5,
    minutes=10,
    needs=("1.1",),
    hints=(
        "Start from everything and take away what rests: the experts that were not chosen.",
        'One expert, over all layers, is parts["experts"] // n_experts. How many of them rest?',
        'active = sum of all parts - parts["experts"] // n_experts * (n_experts - top_k); then, if '
        'not input_embedding, subtract parts["input_embedding"] too.',
    ),
    explanation="Only the experts are scaled by top_k / n_experts. The router cannot choose "
    "without scoring every expert, so all of its rows work. Both conventions for the input table "
    "are in use: 3.6 and 4.2 billion may be the same model (gpt-oss-20b is).",
)


def _parts(seed: int, n_experts: int, limit: int = 90) -> dict[str, int]:
    draw = random.Random(f"{seed} {n_experts}")
    # In any order: a dictionary is asked by its keys.
    parts = {key: draw.randrange(1, limit) for key in draw.sample(KEYS, len(KEYS))}
    parts["experts"] = n_experts * draw.randrange(limit // 2, limit)
    return parts


def _expected_active(parts: dict[str, int], n_experts: int, top_k: int) -> int:
    return sum(parts.values()) - parts["experts"] + parts["experts"] * top_k // n_experts


@EXERCISE.stage("whole number")
def _active_integer(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((1, 1), (5, 2)):
        parts = _parts(seed, n_experts)
        example = {"parts": parts, "n_experts": n_experts, "top_k": top_k}
        require_integer(answer(dict(parts), n_experts, top_k), "The active count", example)


@EXERCISE.stage("dense")
def _active_dense(answer: Any, seed: int) -> None:
    for n_experts in (1, 3):
        parts = _parts(seed, n_experts)
        got = answer(dict(parts), n_experts, n_experts)
        require(
            got == sum(parts.values()),
            "With top_k = n_experts every parameter works on every token, so the active count is "
            "the total.",
            cause="A part was left out or counted twice, parts were found by their place instead "
            "of their keys, or the flag is read the wrong way round.",
            cure="Begin with `sum(parts.values())`, and take away what rests: here, nothing.",
            expected=sum(parts.values()),
            got=got,
            example={"parts": parts, "n_experts": n_experts, "top_k": n_experts},
        )


@EXERCISE.stage("sparse")
def _active_sparse(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((2, 1), (5, 2), (16, 2), (7, 6)):
        parts = _parts(seed, n_experts)
        expected = _expected_active(parts, n_experts, top_k)
        got = answer(dict(parts), n_experts, top_k)
        example = {"parts": parts, "n_experts": n_experts, "top_k": top_k}
        router = parts["router"] - parts["router"] * top_k / n_experts
        require(
            got == expected or abs(expected - got - router) >= 1,
            "The router is scaled with the experts here.",
            cause="It scores every expert before it can choose, so all its rows work on every "
            "token.",
            cure='Multiply parts["experts"] by the share, and nothing else.',
            expected=expected,
            got=got,
            example=example,
        )
        require(
            got == expected,
            "Of the experts, top_k / n_experts are active, and this is another number.",
            cause="Everything was scaled, or nothing, or the share was rounded to 0 or 1: only the "
            "experts are used in part.",
            cure='One expert has parts["experts"] // n_experts parameters, and n_experts - top_k '
            "of them rest: subtract those from the sum of all parts.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("large")
def _active_large(answer: Any, seed: int) -> None:
    # In floats, parts * (top_k / n_experts) comes out a hair below the whole number in the first
    # three, and parts * (1 - top_k / n_experts) a hair above it in the last two.
    cases = (
        (49, 1, 1, 10**11),
        (23, 13, 29, 10**11),
        (384, 8, 10**9, 10**11),
        (3, 1, 333_333_333_333, 10**6),
        (7, 1, 142_857_142_857, 10**6),
    )
    for n_experts, top_k, each, limit in cases:
        parts = {**_parts(seed, n_experts, limit), "experts": n_experts * each}
        expected = _expected_active(parts, n_experts, top_k)
        got = answer(dict(parts), n_experts, top_k, True)
        example = {"parts": parts, "n_experts": n_experts, "top_k": top_k}
        require_exact(got, expected, example)
        require(
            got == expected,
            "With counts like those of large models another number comes.",
            cause="A size in the count is fixed, or digits were lost on the way.",
            cure="Compute in Python's own integers, with // where it divides evenly.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("convention")
def _active_convention(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((1, 1), (3, 2), (11, 4)):
        parts = _parts(seed, n_experts)
        expected = _expected_active(parts, n_experts, top_k) - parts["input_embedding"]
        got = answer(dict(parts), n_experts, top_k, input_embedding=False)
        require(
            got == expected,
            "With input_embedding=False the input table is left out, and nothing else.",
            cause="The flag was not looked at, or the output matrix went with the table: it "
            "multiplies every token, so it stays.",
            cure='Subtract parts["input_embedding"] where the flag is False.',
            expected=expected,
            got=got,
            example={
                "parts": parts,
                "n_experts": n_experts,
                "top_k": top_k,
                "input_embedding": False,
            },
        )
