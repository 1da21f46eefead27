"""Exercise 0.4: find what is wrong: the two best experts."""

import math
from numbers import Real
from typing import Any

from moe_teach.judging.exercise import Exercise, Words, require


def two_best(scores: list[float]) -> list[int]:
    """Choose two experts: those with the two highest scores."""
    border = sorted(scores)[-2]
    return [expert for expert, score in enumerate(scores) if score >= border]


EXERCISE = Exercise(
    id="0.4",
    name="counterexample",
    title="Find what is wrong: the two best experts",
    difficulty=1,
    importance=4,
    minutes=5,
    hints=(
        "Read the second line of the function alone: how many experts does it let in?",
        "It lets in every expert whose score is not below the second best. Who could that be, "
        "besides the two best?",
        "Three experts are enough: let the third best have the same score as the second best.",
    ),
    explanation="A score compared with the k-th best lets in every expert that ties with it. Real "
    "code does this: a mask of the k largest weights kept all of them where many were zero "
    "(arcee-ai/mergekit, pull request 677), and a sampler that was to keep 3 of [1, 2, 2, 2, 3] "
    "kept 4 (vllm-project/vllm, pull request 15478). Ties are not rare: a padded row, or numbers "
    "of few bits, make them every day. `topk` gives k positions, whatever the scores.",
)


@EXERCISE.stage("a list of scores")
def _is_a_list_of_scores(answer: Any, _seed: int) -> None:
    got = answer()
    require(
        isinstance(got, list | tuple) and all(_is_number(score) for score in got),
        "This is not a list of numbers.",
        cause="One score for each expert is asked for, in square brackets; not the ids that come "
        "out, and not one number alone.",
        cure="Return something of the form [2.0, 0.5, 1.0].",
        expected=Words("a list of scores"),
        got=got,
    )
    require(
        all(math.isfinite(score) for score in got),
        "A score is infinite or not a number.",
        cause="Comparisons with `nan` are never true. Nobody promised that the function bears it.",
        cure="Use ordinary numbers: there is a fault for them, too.",
        got=got,
    )
    require(
        len(got) > 1,
        f"With {len(got)} scores nobody can choose two experts.",
        cause="The function needs two scores at least, and this is no fault of its.",
        cure="Give scores of more experts.",
        got=got,
    )


def _is_number(score: Any) -> bool:
    return isinstance(score, Real) and not isinstance(score, bool)


def _what_is_seen(scores: list[float]) -> tuple[str, str]:
    """Say what these scores show, and why it is no fault."""
    if len(scores) == 2:
        return (
            "Of two experts both are chosen, whatever their scores.",
            "Nobody is left who could be let in as a third.",
        )
    best, second = sorted(scores, reverse=True)[:2]
    if best == second:
        return (
            "Two experts have the highest score here, and these two are chosen, as they should be.",
            "A tie above the border does no harm.",
        )
    return (
        "With these scores the function does what it says.",
        "It chooses two experts here, and no other has a higher score. Look for the border "
        "between those that are let in and those that are not.",
    )


@EXERCISE.stage("the function fails")
def _fails(answer: Any, _seed: int) -> None:
    scores = list(answer())
    chosen = two_best(scores)
    symptom, cause = _what_is_seen(scores)
    require(
        len(chosen) != 2,
        symptom,
        cause=cause,
        cure="What would have to stand just outside the border to be let in as well?",
        expected=Words("another number of experts than two"),
        got=chosen,
        example={"scores": scores},
    )


@EXERCISE.stage("as few experts as possible")
def _is_smallest(answer: Any, _seed: int) -> None:
    scores = list(answer())
    require(
        len(scores) <= 3,
        f"The function fails on your {len(scores)} scores, and on fewer, too.",
        cause="Some of these experts have no part in the fault.",
        cure="Take one score away after another, as long as the function still fails.",
        got=scores,
    )
