"""Exercise 3.5: top-k with a tie rule and a margin."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensors

EXERCISE = Exercise(
    id="3.5",
    name="stable_topk_with_margin",
    title="Top-k with a tie rule and a margin",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "`topk` promises nothing about ties. A *stable* sort does: equal scores stay in the order "
        "in which they stood.",
        "`scores.sort(dim=-1, descending=True, stable=True)` gives values and indices (with "
        "`stable`, PyTorch wants `dim` by name too). The margin is the last "
        "chosen value minus the first one left out.",
        "values, order = the stable sort; expert_ids = order[:, :top_k]; the margin is "
        "values[:, top_k - 1] - values[:, top_k], or infinity for all tokens when top_k == E.",
    ),
    explanation="The margin tells how far a token stands from another choice. A test of two "
    "implementations compares the ids first, and only for tokens whose margin is larger than the "
    "rounding it tolerates; then it compares floats.",
)


def _order(scores: Tensor, top_k: int) -> Tensor:
    return scores.argsort(dim=-1, descending=True, stable=True)[:, :top_k]


# All experts chosen is the last stage's case: the margin needs a thought of its own there.
STABLE_SIZES = ((1, 2, 1), (2, 5, 2), (7, 11, 3), (3, 5, 4))


@EXERCISE.stage("shape")
def _stable_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in STABLE_SIZES:
        scores = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(scores, top_k)
        require_tensors(got, ("expert_ids", "margin"), {"scores": scores, "top_k": top_k})
        ids, margin = got
        require(
            ids.shape == (n_tokens, top_k) and margin.shape == (n_tokens,),
            f"`expert_ids` has the shape ({n_tokens}, {top_k}) and `margin`, one per token, "
            f"({n_tokens},); here another one comes.",
            cause="The two are swapped, the margin kept an axis of size 1 or lost the tokens, or "
            "the choice is a mask.",
            cure="Return `expert_ids, margin`: (T, K) from `[:, :top_k]`, and (T,) from one column "
            "minus another.",
            got=(ids, margin),
            example={"scores": scores, "top_k": top_k},
        )


@EXERCISE.stage("choice")
def _stable_choice(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in STABLE_SIZES:
        scores = torch.randn(n_experts, n_tokens, generator=generator(seed)).T
        # Two scores that differ in the last place only: still different.
        scores[0, -1] = torch.nextafter(scores[0, 0], torch.tensor(torch.inf))
        ids, _ = answer(scores, top_k)
        expected = _order(scores, top_k)
        require(
            close(ids, expected),
            "Without any tie, the k largest scores must win, best first.",
            cause="The scores were rounded or shifted (two of the first token differ in the last "
            "digit only), or the chosen ones stand in another order.",
            cure="Do not break ties by changing scores; a stable sort of them as they are, largest "
            "first, needs no such help.",
            expected=expected,
            got=ids,
            example={"scores": scores, "top_k": top_k},
        )


@EXERCISE.stage("any size of scores")
def _stable_sizes(answer: Any, seed: int) -> None:
    drawn = torch.randn(5, 7, generator=generator(seed))
    for scores, which in (
        (drawn - 1_000, "far below zero"),
        (drawn * 1e-12, "a millionth of a millionth apart"),
        (drawn * 1e6, "in the millions"),
        (1 + 1e-9 * drawn.double(), "in float64, and differ in the ninth digit"),
    ):
        ids, _ = answer(scores, 3)
        expected = _order(scores, 3)
        require(
            close(ids, expected),
            f"The same comes out wrong where the scores lie {which}.",
            cause="They are not compared as they are: a constant stands for `taken`, or a rounding "
            "or another dtype comes in between.",
            cure="Sort the scores themselves, without a constant, a rounding or another dtype.",
            expected=expected,
            got=ids,
            example={"scores": scores, "top_k": 3},
        )


@EXERCISE.stage("ties")
def _stable_ties(answer: Any, seed: int) -> None:
    # The last sizes are large enough for an unstable sort to show itself.
    for n_tokens, n_experts, top_k in (*STABLE_SIZES, (5, 23, 4), (3, 130, 40)):
        scores = torch.randint(-1, 2, (n_tokens, n_experts), generator=generator(seed)).float()
        ids, _ = answer(scores, top_k)
        expected = _order(scores, top_k)
        require(
            close(ids, expected),
            "Among equal scores the expert with the lower number comes first, and here another "
            "one does.",
            cause="`topk`, and sorts that are not stable, pick whichever they meet.",
            cure="A sort with `stable=True` keeps equal scores in their places.",
            expected=expected,
            got=ids,
            example={"scores": scores, "top_k": top_k},
        )


@EXERCISE.stage("margin")
def _stable_margin(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in STABLE_SIZES:
        scores = torch.randn(n_tokens, n_experts, generator=generator(seed))
        scores[-1] = 0.5  # a token that cannot decide: margin 0
        _, margin = answer(scores, top_k)
        best = scores.sort(dim=-1, descending=True).values
        expected = best[:, top_k - 1] - best[:, top_k]
        require(
            close(margin, expected),
            "This is not the margin: the score of the last chosen expert minus the score of the "
            "first one left out.",
            cause="One of the two places in the order is off by one or at its end, ties are "
            "skipped, or the difference was turned round, divided or cut.",
            cure="The first one left out is number top_k + 1 in the order, at index top_k.",
            expected=expected,
            got=margin,
            example={"scores": scores, "top_k": top_k},
        )


@EXERCISE.stage("everyone chosen")
def _stable_everyone(answer: Any, seed: int) -> None:
    scores = torch.randint(-2, 3, (3, 4), generator=generator(seed)).float()
    example, expected = {"scores": scores, "top_k": 4}, torch.full((3,), torch.inf)
    ids: Any = None
    margin: Any = None
    with suppress(IndexError):  # said below, in words
        ids, margin = answer(scores, 4)
    require(
        margin is not None,
        "When every expert is chosen, the answer ends in an IndexError.",
        cause="Then no score comes after the last chosen one, and reading it fails.",
        cure="Ask for this case first: nothing can change the choice, so the margin is infinite.",
        expected=expected,
        got=Words("an IndexError"),
        example=example,
    )
    require(
        isinstance(margin, torch.Tensor)
        and margin.shape == (3,)
        and bool(torch.isposinf(margin).all()),
        "When every expert is chosen nothing can change the choice, so the margin is infinite; "
        "here it is another one, or no tensor of shape (T,).",
        cause="A zero, a very large number or a single infinity stands in for one of each token.",
        cure="`torch.full(scores.shape[:1], torch.inf)`.",
        expected=expected,
        got=margin,
        example=example,
    )
    require(
        close(ids, _order(scores, 4)),
        "When every expert is chosen the margins are right and the order is not.",
        cause="The experts are listed as they stand, without being sorted.",
        cure="Best first, and ties to the lower number, as always.",
        expected=_order(scores, 4),
        got=ids,
        example=example,
    )
