"""Chapter 07, exercise 7.4: top-k inside the best groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import Case, best_two, chosen
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor

EXERCISE = Exercise(
    id="7.4",
    name="group_limited_topk",
    title="Only a few groups for each token",
    points=2,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("3.5",),
    hints=(
        "Two choices, one after the other: first groups, then experts. Between them every expert "
        "of a closed group has to become unchoosable, whatever the scores are.",
        "`scores.unflatten(-1, (n_groups, -1))` is (T, G, E / G). A `topk(2)` along the last axis "
        "and a sum give the worth of each group, (T, G); `topk(top_groups)` of that opens groups.",
        "is_open = torch.zeros_like(worth, dtype=torch.bool).scatter_(-1, best_groups, True); "
        "groups.masked_fill(~is_open[..., None], -torch.inf).flatten(1).topk(top_k).indices",
    ),
    explanation="Why not zero? A sigmoid is positive, but a bias can push the ranking below zero, "
    "and then a zero wins: the token goes to a machine that was closed to it. Published code has "
    "done this. Minus infinity is the only number that no score can fall below.",
)

ONE_GROUP: tuple[Case, ...] = ((1, 2, 1, 1, 1), (3, 5, 2, 1, 1), (5, 6, 4, 3, 3), (4, 5, 5, 1, 1))
SEVERAL: tuple[Case, ...] = (
    (1, 4, 1, 2, 1),
    (3, 6, 2, 3, 1),
    (5, 12, 4, 3, 2),
    (31, 20, 3, 4, 2),
    (9, 8, 4, 4, 2),  # the open groups are used up
    (7, 36, 5, 12, 4),
    (7, 40, 1, 4, 3),
)
SINGLES: tuple[Case, ...] = ((1, 1, 1, 1, 1), (2, 3, 1, 3, 2), (7, 5, 2, 5, 3), (7, 13, 3, 13, 3))


def inputs(case: Case, seed: int, shift: float = 0.0, spread: float = 1.0) -> dict[str, Any]:
    """Draw the arguments of a call; `shift` moves all scores. Rows do not lie in one piece."""
    n_tokens, n_experts, top_k, n_groups, top_groups = case
    scores = spread * torch.randn(n_experts, n_tokens, generator=generator(seed)).T + shift
    return {"scores": scores, "top_k": top_k, "n_groups": n_groups, "top_groups": top_groups}


def _of_all_tokens(members: Tensor) -> Tensor:
    return best_two(members).mean(dim=0, keepdim=True).expand(len(members), -1)


def _slip(**how: Any) -> Callable[..., Tensor]:
    return lambda **call: chosen(**call, **how)


def _inside(scores: Tensor, top_k: int, n_groups: int, top_groups: int) -> Tensor:
    return chosen(scores, top_k, n_groups, top_groups) % (scores.shape[-1] // n_groups)


TEMPTING = (
    (
        "These are the k best of all experts: the limit to the best groups has no effect.",
        lambda **call: call["scores"].topk(call["top_k"], dim=-1).indices,
    ),
    (
        "These are positions inside a group. Return the numbers of the experts among all E.",
        _inside,
    ),
    (
        "The groups are ranked by their best expert alone, which is the rule of DeepSeek-V2. In V3 "
        "a group is worth the sum of its *two* best.",
        _slip(worth=lambda members: members.amax(dim=-1)),
    ),
    (
        "The groups are ranked by all of their experts. Only the two best count: the others would "
        "not be chosen anyway.",
        _slip(worth=lambda members: members.sum(dim=-1)),
    ),
    (
        "Groups hold neighbours: with 6 experts in 3 groups these are 0 1, 2 3 and 4 5. Yours look "
        "like 0 3, 1 4, 2 5; is it `view(-1, E // n_groups, n_groups)`?",
        _slip(interleaved=True),
    ),
    (
        "One choice of groups was made for all tokens together. Each token opens its own groups.",
        _slip(worth=_of_all_tokens),
    ),
    (
        "The groups that were opened are the worst ones. `topk` gives the largest first.",
        _slip(worth=lambda members: -best_two(members)),
    ),
    (
        "The groups are ranked by as many experts as a token chooses. A group is worth its *two* "
        "best, whatever k is.",
        lambda **call: chosen(
            **call,
            worth=lambda members: members.topk(
                min(call["top_k"], members.shape[-1]), dim=-1
            ).values.sum(dim=-1),
        ),
    ),
)


def _set(expert_ids: Tensor) -> Tensor:
    return expert_ids.sort(dim=-1).values


def _judge(
    answer: Any,
    cases: tuple[Case, ...],
    seed: int,
    shift: float,
    symptom: str,
    likely: str,
    spread: float = 1.0,
) -> None:
    """Compare choices; a slip is named when it explains the answers to *all* cases."""
    given = [inputs(case, seed, shift, spread) for case in cases]
    got = [answer(**call) for call in given]
    expected = [chosen(**call) for call in given]
    wrong = [i for i in range(len(cases)) if not close(_set(got[i]), _set(expected[i]))]
    if not wrong:
        return
    cause = ""
    for sentence, slip in TEMPTING:
        slipped = [slip(**call) for call in given]
        if all(close(_set(a), _set(b)) for a, b in zip(got, slipped, strict=True)):
            cause = sentence
            break
    first = wrong[0]
    shown = {"expected": expected[first], "got": got[first], "example": given[first]}
    require(False, symptom, cause=cause or likely, **shown)


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for case in (*ONE_GROUP, *SEVERAL):
        given = inputs(case, seed, shift=5.0)
        got = answer(**given)
        require(
            not isinstance(got, tuple),
            "Return the numbers of the experts alone. `topk` gives values and indices: take its "
            "`.indices`.",
            got=got,
            example=given,
        )
        require_tensor(got, given)
        require(
            got.shape == (case[0], case[2]) and not got.is_floating_point(),
            f"Return the numbers of the chosen experts, integers of shape (T, K), here "
            f"({case[0]}, {case[2]}).",
            got=got,
            example=given,
        )
        require(
            bool((got >= 0).all() and (got < case[1]).all()),
            "Expert numbers lie between 0 and E - 1.",
            got=got,
            example=given,
        )


@EXERCISE.stage("all groups open")
def _all_open(answer: Any, seed: int) -> None:
    symptom = "With every group open the limit forbids nothing, and these are not the k best."
    likely = "If you gathered the open groups first, turn positions back into expert numbers."
    _judge(answer, ONE_GROUP, seed, 5.0, symptom, likely)


@EXERCISE.stage("groups")
def _groups(answer: Any, seed: int) -> None:
    symptom = "These are not the k best experts of the token's best groups."
    likely = "A group is worth the sum of its two best scores; then top-k among the open groups."
    _judge(answer, SEVERAL, seed, 5.0, symptom, likely)


@EXERCISE.stage("groups of one")
def _singles(answer: Any, seed: int) -> None:
    sentence = "With one expert in each group, a group is worth its only score."
    try:
        answer(**inputs(SINGLES[0], seed, 5.0))
    except (RuntimeError, IndexError):
        require(
            False,
            "It fails with one expert in each group.",
            cause=f"{sentence} There is no second best to add.",
            cure="Take `topk(min(2, size))`.",
            example=inputs(SINGLES[0], seed, 5.0),
        )
    _judge(answer, SINGLES, seed, 5.0, "With groups of one other experts are chosen.", sentence)


@EXERCISE.stage("negative scores")
def _negative(answer: Any, seed: int) -> None:
    for shift in (-0.5, -5.0):
        symptom = "With negative scores the choice is another one."
        likely = (
            "Were closed groups set to 0, or multiplied by a mask? A zero beats every negative "
            "score: use -torch.inf."
        )
        _judge(answer, (*SEVERAL, *SINGLES), seed, shift, symptom, likely)
    for row in ([1.0, 0.0, 20.0, -9.0], [20.0, -9.0, 1.0, 0.0]):
        given = {"scores": torch.tensor([row]), "top_k": 2, "n_groups": 2, "top_groups": 1}
        got, expected = answer(**given), chosen(**given)
        require(
            close(got, expected),
            "The lowest score of all belongs to an open group here, and the token must take that "
            "expert.",
            cause="Do closed groups get a number that an open expert can have?",
            cure="Use -torch.inf.",
            expected=expected,
            got=got,
            example=given,
        )
    symptom = "With scores far below zero the choice is another one than near zero."
    likely = "Does a fixed number close the groups? Sooner or later a score is lower."
    _judge(answer, SEVERAL, seed, -90_000.0, symptom, likely, spread=1000.0)


@EXERCISE.stage("order")
def _order(answer: Any, seed: int) -> None:
    for case in SEVERAL:
        given = inputs(case, seed)
        got = answer(**given)
        require(
            close(got, chosen(**given)),
            "The right experts, but not best first. Take the top k of the masked scores last, and "
            "do not sort the numbers.",
            expected=chosen(**given),
            got=got,
            example=given,
        )
