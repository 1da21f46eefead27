"""Exercise 1.2: count what one token uses."""

import random
from typing import Any

from moe_teach.chapters.ch01_why_sparse.count_parts import KEYS, require_integer
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
            cause="Did you leave a part out, or count one twice? Find the parts by their keys.",
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
            expected=expected,
            got=got,
            example=example,
        )
        require(
            got == expected,
            "Of the experts, top_k / n_experts are active, and this is another number.",
            cause="Only the experts are used in part. Attention, norms and tables work for every "
            "token.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("large")
def _active_large(answer: Any, seed: int) -> None:
    # Here parts * (top_k / n_experts) comes out a hair below the whole number, in floats.
    for n_experts, top_k, each in ((49, 1, 1), (23, 13, 29), (384, 8, 10**9)):
        parts = {**_parts(seed, n_experts, 10**11), "experts": n_experts * each}
        expected = _expected_active(parts, n_experts, top_k)
        got = answer(dict(parts), n_experts, top_k, True)
        require(
            got == expected,
            "With counts like those of large models the number is not exact any more.",
            cause="A share such as 1 / 49 is rounded, and `int(...)` drops what is a hair short of "
            "a whole number; 32 bits hold no more than 2.1 billion. Divide first, with //: it "
            "divides evenly.",
            expected=expected,
            got=got,
            example={"parts": parts, "n_experts": n_experts, "top_k": top_k},
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
            cause="The output matrix multiplies every token, so it stays.",
            expected=expected,
            got=got,
            example={
                "parts": parts,
                "n_experts": n_experts,
                "top_k": top_k,
                "input_embedding": False,
            },
        )
