"""Chapter 07, exercise 7.4: top-k inside the best groups."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import Case, chosen
from moe_teach.chapters.ch07_modern_moe.group_slips import TEMPTING
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.reasons import Why

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


def _set(expert_ids: Tensor) -> Tensor:
    return expert_ids.sort(dim=-1).values


def _judge(
    answer: Any,
    cases: tuple[Case, ...],
    seed: int,
    shift: float,
    symptom: str,
    why: Why,
    spread: float = 1.0,
) -> None:
    """Compare choices; a slip is named when it explains the answers to *all* cases."""
    given = [inputs(case, seed, shift, spread) for case in cases]
    got = [answer(**call) for call in given]
    expected = [chosen(**call) for call in given]
    wrong = [i for i in range(len(cases)) if not close(_set(got[i]), _set(expected[i]))]
    if not wrong:
        return
    for words, slip in TEMPTING if spread == 1 else ():
        slipped = [slip(**call) for call in given]
        if all(close(_set(a), _set(b)) for a, b in zip(got, slipped, strict=True)):
            why = words
            break
    first = wrong[0]
    shown = {"expected": expected[first], "got": got[first], "example": given[first]}
    require(False, symptom, **why._asdict(), **shown)


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for case in (*ONE_GROUP, *SEVERAL):
        given = inputs(case, seed, shift=5.0)
        got = answer(**given)
        require(
            not isinstance(got, tuple),
            "This is a tuple, and the numbers of the experts were asked for alone.",
            cause="`topk` gives values and indices.",
            cure="Take its `.indices`.",
            got=got,
            example=given,
        )
        require_tensor(got, given)
        require(
            got.shape == (case[0], case[2]) and not got.is_floating_point(),
            f"These are no integers of shape (T, K), here ({case[0]}, {case[2]}).",
            cause="The values were taken instead of the indices, or another axis.",
            cure="Return the numbers of the chosen experts: `topk(top_k, dim=-1).indices`.",
            got=got,
            example=given,
        )
        require(
            bool((got >= 0).all() and (got < case[1]).all()),
            "Expert numbers lie between 0 and E - 1, and some of these do not.",
            cause="Positions were turned into expert numbers with a wrong factor.",
            cure="Position p of group g is expert g * (E // n_groups) + p.",
            got=got,
            example=given,
        )


@EXERCISE.stage("all groups open")
def _all_open(answer: Any, seed: int) -> None:
    symptom = "With every group open the limit forbids nothing, and these are not the k best."
    why = Why(
        "Positions among gathered scores may have been taken for expert numbers.",
        "If you gather the open groups first, turn positions back into expert numbers.",
    )
    _judge(answer, ONE_GROUP, seed, 5.0, symptom, why)


@EXERCISE.stage("groups")
def _groups(answer: Any, seed: int) -> None:
    symptom = "These are not the k best experts of the token's best groups."
    why = Why(
        "Other groups were opened, or the choice inside them is another one.",
        "A group is worth the sum of its two best scores; then top-k among the open groups.",
    )
    _judge(answer, SEVERAL, seed, 5.0, symptom, why)


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
    why = Why(sentence, "Sum over `topk(min(2, size))`.")
    _judge(answer, SINGLES, seed, 5.0, "With groups of one other experts are chosen.", why)


ZERO = Why(
    "Closed groups were set to 0, or multiplied by a mask, or a score lost its sign: a zero beats "
    "every negative score.",
    "Close them with -torch.inf, and rank by the scores as they are.",
)
FIXED = Why(
    "A fixed number closes the groups, and sooner or later a score is lower.", "Use -torch.inf."
)


@EXERCISE.stage("negative scores")
def _negative(answer: Any, seed: int) -> None:
    for shift in (-0.5, -5.0):
        symptom = "With negative scores the choice is another one."
        _judge(answer, (*SEVERAL, *SINGLES), seed, shift, symptom, ZERO)
    for row in ([1.0, 0.0, 20.0, -9.0], [20.0, -9.0, 1.0, 0.0]):
        given = {"scores": torch.tensor([row]), "top_k": 2, "n_groups": 2, "top_groups": 1}
        got, expected = answer(**given), chosen(**given)
        require(
            close(got, expected),
            "The lowest score of all belongs to an open group here, and the token must take that "
            "expert.",
            cause="Closed groups get a number that an open expert can have.",
            cure="Use -torch.inf.",
            expected=expected,
            got=got,
            example=given,
        )
    for shift, spread in ((-90_000.0, 1000.0), (-3e30, 1e30)):
        symptom = f"With scores around {shift:g} the choice is another one than near zero."
        _judge(answer, SEVERAL, seed, shift, symptom, FIXED, spread)


@EXERCISE.stage("order")
def _order(answer: Any, seed: int) -> None:
    for case in SEVERAL:
        given = inputs(case, seed)
        got = answer(**given)
        require(
            close(got, chosen(**given)),
            "The right experts, but not best first.",
            cause="They were sorted by number, turned round, or come group by group.",
            cure="Take the top k of the masked scores last, and do not sort the numbers.",
            expected=chosen(**given),
            got=got,
            example=given,
        )
