"""Exercise 1.5: how many experts does a batch wake?."""

import random
from itertools import product
from numbers import Number
from typing import Any

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
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


@EXERCISE.stage("a number")
def _distinct_number(answer: Any, seed: int) -> None:
    got = answer([0.5, 0.5, 1.0], 1)
    require(
        isinstance(got, Number) and not isinstance(got, bool),
        f"The answer is no number, but of type {type(got).__name__}.",
        cause="The probabilities of the experts were not added up, or came as a tensor.",
        cure="Return `float(sum(...))`, over the experts.",
        expected=Words("a float"),
        got=got,
        example={"choice_probs": [0.5, 0.5, 1.0], "n_tokens": 1},
    )


@EXERCISE.stage("one token")
def _distinct_one(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((5, 2), (1, 1), (16, 2)):
        probs = _uniform(n_experts, top_k)
        got = answer(list(probs), 1)
        exact = float(top_k)
        require(
            top_k == n_experts or not close(got, n_experts - exact),
            "These are the experts that stay asleep.",
            cause="(1 - p) ** n_tokens is the probability that nobody chose the expert.",
            cure="Subtract each from 1 before you add them up.",
            expected=exact,
            got=got,
            example={"choice_probs": probs, "n_tokens": 1},
        )
        require(
            close(got, exact),
            "One token wakes top_k experts, which is the sum of the probabilities.",
            cause="The exponent is another number than n_tokens, the probabilities were scaled or "
            "averaged, or a simulation stands in for the exact value.",
            cure="Give each expert 1 - (1 - p) ** n_tokens, and add these up.",
            expected=exact,
            got=got,
            example={"choice_probs": probs, "n_tokens": 1},
        )


@EXERCISE.stage("no token, many tokens")
def _distinct_ends(answer: Any, seed: int) -> None:
    for n_experts, top_k in ((1, 1), (5, 2)):
        probs = _uniform(n_experts, top_k)
        for n_tokens, expected in ((0, 0.0), (1000, float(n_experts))):
            got = answer(list(probs), n_tokens)
            require(
                close(got, expected),
                "No token wakes nobody, and a thousand tokens wake every expert but never more "
                "than there are.",
                cause="A sum of probabilities grows with every token, and a product of them "
                "shrinks: neither says how likely it is that *somebody* chose an expert.",
                cure="Nobody chose the expert with probability (1 - p) ** n_tokens; take that "
                "from 1.",
                expected=expected,
                got=got,
                example={"choice_probs": probs, "n_tokens": n_tokens},
            )


@EXERCISE.stage("two tokens, all cases listed")
def _distinct_listed(answer: Any, seed: int) -> None:
    for n_experts in (2, 3, 5):
        pairs = product(range(n_experts), repeat=2)
        cases = [len({first, second}) for first, second in pairs]
        expected = sum(cases) / len(cases)
        got = answer(_uniform(n_experts, 1), 2)
        require(
            close(got, expected),
            f"Two tokens choose one of {n_experts} experts each. Listing all {n_experts**2} cases "
            "gives another average.",
            cause="Two tokens may choose the same expert, which then counts once; or the average "
            "was rounded.",
            cure="Compute 1 - (1 - p) ** 2 for each expert, unrounded, and add these up.",
            expected=expected,
            got=got,
            example={"choice_probs": _uniform(n_experts, 1), "n_tokens": 2},
        )


@EXERCISE.stage("uniform")
def _distinct_uniform(answer: Any, seed: int) -> None:
    for n_experts, top_k, n_tokens in ((7, 3, 2), (16, 2, 8), (64, 8, 13)):
        expected = n_experts * (1 - (1 - top_k / n_experts) ** n_tokens)
        got = answer(_uniform(n_experts, top_k), n_tokens)
        require(
            close(got, expected),
            "With equal probabilities and several choices a token, the average is another one.",
            cause="A token's top_k choices are different experts: it misses expert e with "
            "probability 1 - p_e. Treating them as top_k independent draws counts too few.",
            cure="Use p_e as it is given, and n_tokens as the only exponent.",
            expected=expected,
            got=got,
            example={
                "choice_probs": Words(f"[{top_k} / {n_experts}] * {n_experts}"),
                "n_tokens": n_tokens,
            },
        )


@EXERCISE.stage("skewed")
def _distinct_skewed(answer: Any, seed: int) -> None:
    for n_experts, n_tokens in ((3, 2), (5, 4), (11, 7)):
        probs = _skewed(seed, n_experts)
        expected = sum(1 - (1 - prob) ** n_tokens for prob in probs)
        got = answer(list(probs), n_tokens)
        require(
            close(got, expected),
            "With unequal probabilities the average is another one.",
            cause="One probability was used for all; their mean does not do, because the power "
            "bends.",
            cure="Go through the experts, each with its own (1 - p_e) ** n_tokens.",
            expected=expected,
            got=got,
            example={"choice_probs": probs, "n_tokens": n_tokens},
        )
