"""Chapter 03, exercise 3.3: a bias for the choice only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch03_router.inputs import SIZES, draw_logits
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_gates_and_ids
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="3.3",
    name="sigmoid_route",
    title="A bias that chooses and never weighs",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    needs=("3.1",),
    hints=(
        "Two different tensors are at work. One decides who is chosen and contains the bias; the "
        "other gives the gates and has never seen it.",
        "probs = sigmoid(logits). Choose with topk on probs + expert_bias, keep only the indices, "
        "and read the gates from probs with `gather`.",
        "expert_ids = (probs + expert_bias).topk(top_k, dim=-1).indices; gates = probs.gather(-1, "
        "expert_ids); divide by their sum over the chosen; multiply by gate_scale.",
    ),
    explanation="This is the rule of DeepSeek-V3 (arXiv 2412.19437, eq. 12 to 16). The bias steers "
    "the load; were it in the gates, balancing would also change what the layer computes. `gather` "
    "from the unbiased scores is the line that keeps the two apart.",
)


def _rule(
    logits: Tensor, expert_bias: Tensor, top_k: int, gate_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    probs = logits.sigmoid()
    expert_ids = (probs + expert_bias).topk(top_k, dim=-1).indices
    gates = probs.gather(-1, expert_ids)
    return gate_scale * gates / gates.sum(dim=-1, keepdim=True), expert_ids


def _ranked(scores: Tensor, top_k: int) -> Tensor:
    return scores.topk(top_k, dim=-1).indices


MISTAKEN: tuple[tuple[Callable[..., Tensor], str, str, str], ...] = (
    (
        lambda logits, expert_bias, top_k: _ranked(logits, top_k),
        "The choice is the one without any bias.",
        "expert_bias does not reach the numbers that topk compares.",
        "Add expert_bias to the scores before topk.",
    ),
    (
        lambda logits, expert_bias, top_k: _ranked(logits.softmax(dim=-1) + expert_bias, top_k),
        "The experts were scored by a softmax.",
        "A softmax scores them against each other; here each is scored alone.",
        "Take the sigmoid of the logits.",
    ),
    (
        lambda logits, expert_bias, top_k: _ranked(logits + expert_bias, top_k),
        "The choice is the one by logits plus bias.",
        "The bias is added before the sigmoid, or there is no sigmoid in the choice.",
        "The bias belongs to the scores: sigmoid(logits) + expert_bias.",
    ),
    (
        lambda logits, expert_bias, top_k: _ranked(logits.sigmoid() - expert_bias, top_k),
        "The choice is the one with the bias taken off.",
        "Its sign is turned.",
        "Add it: sigmoid(logits) + expert_bias.",
    ),
    (
        lambda logits, expert_bias, top_k: _ranked(logits.sigmoid() + expert_bias.abs(), top_k),
        "The choice is the one in which no bias is negative.",
        "A bias may have either sign, and the minus was lost.",
        "Add it as it is: sigmoid(logits) + expert_bias.",
    ),
)


def _draw(n_tokens: int, n_experts: int, seed: int, level: float = 0.0) -> dict[str, Tensor]:
    """Draw logits and biases around `level`: the biased scores may all lie below zero."""
    bias = level + 0.5 * torch.randn(n_experts, generator=generator(seed + 1))
    return {"logits": draw_logits(n_tokens, n_experts, seed, scale=2.0), "expert_bias": bias}


@EXERCISE.stage("shape")
def _sigmoid_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed)
        got = answer(logits, torch.zeros(n_experts), top_k, 1.0)
        require_gates_and_ids(got, n_tokens, top_k, logits=logits, top_k=top_k)


@EXERCISE.stage("choice")
def _sigmoid_choice(answer: Any, seed: int) -> None:
    tried = []
    for n_tokens, n_experts, top_k in (*SIZES, (31, 11, 3)):
        given = {**_draw(n_tokens, n_experts, seed), "top_k": top_k}
        tried.append((given, answer(*given.values(), 1.0)[1]))
    # Small cases let several mistakes look alike: a mistake is named if it explains them all.
    _, symptom, cause, cure = next(
        (told for told in MISTAKEN if all(close(ids, told[0](**one)) for one, ids in tried)),
        (
            None,
            "This is not the choice by the largest sigmoid(logits) + expert_bias, best first.",
            "The chosen experts were sorted by something else, the bias multiplies, or the choice "
            "runs along the tokens.",
            "`(logits.sigmoid() + expert_bias).topk(top_k, dim=-1).indices`, in this order.",
        ),
    )
    for given, ids in tried:
        _, expected = _rule(**given)
        facts = {"expected": expected, "got": ids, "example": given}
        require(close(ids, expected), symptom, cause=cause, cure=cure, **facts)


@EXERCISE.stage("below zero")
def _sigmoid_below_zero(answer: Any, seed: int) -> None:
    given = {**_draw(5, 7, seed, level=-4.0), "top_k": 3}
    _, ids = answer(*given.values(), 1.0)
    _, expected = _rule(*given.values())
    require(
        close(ids, expected),
        "Where every biased score is negative, other experts are chosen than the best ones.",
        cause="Scores plus bias may lie anywhere: 0 or -1 cannot mark an expert that is out.",
        cure="Rank the biased scores as they are; `-torch.inf` lies below all of them.",
        expected=expected,
        got=ids,
        example=given,
    )


@EXERCISE.stage("gates")
def _sigmoid_gates(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in (*SIZES, (31, 11, 3)):
        given = {**_draw(n_tokens, n_experts, seed), "top_k": top_k, "gate_scale": 1.0}
        gates, _ = answer(*given.values())
        expected, _ = _rule(*given.values())
        require(
            close(gates.sum(dim=-1), torch.ones(n_tokens)),
            "With gate_scale=1 the gates of a token sum to one, and these do not.",
            cause="Sigmoid scores do not do that by themselves, and the sum over *all* experts is "
            "another one.",
            cure="Divide by the sum over the chosen experts, keepdim=True.",
            expected=expected,
            got=gates,
            example=given,
        )
        require(
            close(gates, expected),
            "The gates are not the normalised sigmoids of the chosen experts.",
            cause="Most likely the bias leaked in; or a softmax stands in for the division, or a "
            "gate is read from another token.",
            cure="Take the gates from sigmoid(logits), without the bias: `gather` reads them.",
            expected=expected,
            got=gates,
            example=given,
        )


@EXERCISE.stage("scale")
def _sigmoid_scale(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        given = {**_draw(n_tokens, n_experts, seed), "top_k": top_k, "gate_scale": 2.5}
        got = answer(*given.values())
        expected = _rule(*given.values())
        require(
            close(got[0].sum(dim=-1), torch.full((n_tokens,), 2.5)),
            "With gate_scale=2.5 a row of gates sums to 2.5, and these do not.",
            cause="Before the division a factor would cancel.",
            cure="Multiply by `gate_scale` after the normalisation.",
            expected=torch.full((n_tokens,), 2.5),
            got=got[0].sum(dim=-1),
            example=given,
        )
        require(
            close(got, expected),
            "With gate_scale=2.5 the rows sum to 2.5, and something else changes with the scale.",
            cause="The scores were scaled before the choice, or the gates raised to a power.",
            cure="The scale must not touch the choice or the proportions: multiply by it at the "
            "end.",
            expected=expected,
            got=got,
            example=given,
        )
        unsaid, _ = answer(given["logits"], given["expert_bias"], top_k)
        require(
            close(unsaid, expected[0] / 2.5),
            "Called without `gate_scale`, the gates do not sum to one.",
            cause="The parameter has another default than in the stub.",
            cure="Keep the stub's default, gate_scale=1.0.",
            expected=expected[0] / 2.5,
            got=unsaid,
            example={name: given[name] for name in ("logits", "expert_bias", "top_k")},
        )


_ALONE = "Divide the chosen scores by their own sum; nothing may be added to it."


@EXERCISE.stage("far from zero")
def _sigmoid_far(answer: Any, seed: int) -> None:
    given = {**_draw(5, 6, seed), "top_k": 2}
    logits = given["logits"]
    added = "Something was added to the sum, or the bias added to the scores and taken off again: "
    for shift, cause, cure in (
        (-8.0, f"{added}the scores are near 0.0003.", _ALONE),
        (-20.0, f"{added}the scores are near 1e-9.", _ALONE),
        (
            1_000.0,
            "`exp(1000)` is infinite.",
            "`torch.sigmoid` knows how to go round that: use it.",
        ),
    ):
        given["logits"] = logits + shift
        got, expected = answer(*given.values()), _rule(*given.values())
        require(
            close(got, expected),
            f"Near zero all was right; with logits around {shift:g} it is not.",
            cause=cause,
            cure=cure,
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("gradient")
def _sigmoid_gradient(answer: Any, seed: int) -> None:
    for top_k, gate_scale in ((2, 1.0), (5, 2.5)):
        given = {**_draw(3, 5, seed), "top_k": top_k, "gate_scale": gate_scale}
        require_gradients(answer, _rule, given, seed=seed)
