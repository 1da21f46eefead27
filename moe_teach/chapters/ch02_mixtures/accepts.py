"""Exercise 2.7: find what is wrong with other people's mixtures, by a test."""

from typing import Any

from moe_teach.chapters.ch02_mixtures.other_mixtures import BROKEN, RIGHT
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="2.7",
    name="accepts",
    title="Find what is wrong: mixtures of other people",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("2.6",),
    hints=(
        "You know what the answer must be: for each token, the sum of its k best experts' answers, "
        "weighed by the softmax of their logits. Compute that in the slowest and plainest way you "
        "can, and compare. The art is in the inputs.",
        "A broken mixture is right somewhere. Vary what hides a fault: one expert, all experts or "
        "some of them chosen; one token or several; logits all negative, or hundreds apart. And "
        "some of the contract is not about numbers: experts that count their rows see it.",
        "for k in (1, 2, E): for logits in (randn, randn - 9, 100 * randn): expected = "
        "einsum over softmax(logits, the others at -inf) and all answers; return False unless "
        "allclose(got, expected) and each expert was called with as many rows as chose it.",
    ),
    explanation="The code above stood in a public repository: it mixes the "
    "exponentials of the answers and takes the logarithm (davidmrau/mixture-of-experts, issues 4, "
    "19 and 21, found in 2019 and repaired in 2023). The others are of published kinds, too: gates "
    "normalised over the batch at k = 1 (databricks/megablocks, pull request 87), zeros where "
    "minus infinity belongs (sgl-project/sglang, pull request 3705), gates that should have been "
    "renormalised (pytorch/torchtitan, issue 2258). A law such as `k = E is dense` finds some of "
    "them. A slow and plain reference finds more, if its inputs go where the faults are.",
)


def _verdict(answer: Any, mixture: Any) -> bool:
    got = answer(mixture)
    require(
        isinstance(got, bool),
        "`accepts` must say True or False.",
        cause="A comparison of tensors is a tensor, and an `assert` says nothing at its end.",
        cure="`torch.allclose` and `bool(...)` give True or False; end in `return True`.",
        expected=Words("True or False"),
        got=got,
    )
    return got


@EXERCISE.stage("right mixtures")
def _right(answer: Any, seed: int) -> None:
    for number, (mixture, cause, cure) in enumerate(RIGHT, 1):
        require(
            _verdict(answer, mixture),
            f"Your test turns a right mixture away (number {number} of {len(RIGHT)}).",
            cause=cause,
            cure=cure,
            expected=True,
            got=False,
        )


@EXERCISE.stage("broken mixtures")
def _broken(answer: Any, seed: int) -> None:
    for number, one in enumerate(BROKEN, 1):
        which = "the one above" if number == 1 else f"number {number} of {len(BROKEN)}"
        require(
            not _verdict(answer, one.mixture),
            f"A broken mixture passes your test, {which}. It is right {one.is_right}.",
            cause=one.cause,
            cure=one.cure,
            expected=False,
            got=True,
        )
