"""Exercise 2.2: the soft mixture."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import require_edges
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.2",
    name="soft_mixture",
    title="The soft mixture",
    points=1,
    difficulty=1,
    importance=5,
    minutes=10,
    hints=(
        "Two steps: logits to gates that sum to one over the *experts*, then a weighted sum over "
        "the experts.",
        "`logits.softmax(dim=-1)` is (T, E). Give it a third dimension to multiply with outputs "
        "(T, E, O), then sum over dimension 1.",
        'torch.einsum("te,teo->to", logits.softmax(dim=-1), outputs)',
    ),
    explanation="The einsum names what is summed: e occurs on the left only. This blend is what "
    "the cooperative error, equation (1.1) of the paper, compares with the target.",
)


SIZES = ((1, 1, 1), (1, 3, 2), (5, 4, 1), (3, 3, 3), (7, 11, 3))  # tokens, experts, outputs


def inputs(sizes: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw outputs (T, E, O), logits (T, E) and targets (T, O)."""
    n_tokens, n_experts, d_out = sizes
    draw = generator(seed)
    return (
        torch.randn(n_tokens, n_experts, d_out, generator=draw),
        torch.randn(n_tokens, n_experts, generator=draw),
        torch.randn(n_tokens, d_out, generator=draw),
    )


@EXERCISE.stage("shape")
def _soft_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits)
        require_tensor(got, {"outputs": outputs, "logits": logits})
        require(
            got.shape == targets.shape,
            f"The blend has one vector per token, shape {tuple(targets.shape)} here, and this has "
            f"shape {tuple(got.shape)}.",
            cause="Another axis than that of the experts was summed, or none; or `squeeze` took an "
            "axis of size 1 that belongs there.",
            cure="outputs is (T, E, O): sum over dimension 1, and squeeze nothing but that.",
            got=got,
            example={"outputs": outputs, "logits": logits},
        )


def _blend(outputs: Tensor, logits: Tensor) -> Tensor:
    return (logits.softmax(dim=-1)[..., None] * outputs).sum(dim=1)


@EXERCISE.stage("values")
def _soft_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, _ = inputs(sizes, seed)
        got = answer(outputs, logits)
        expected = _blend(outputs, logits)
        example = {"outputs": outputs, "logits": logits}
        require(
            close(got, expected) or not close(got, (logits[..., None] * outputs).sum(dim=1)),
            "The logits themselves were used as gates.",
            cause="Gates are positive and sum to one over the experts; logits are neither.",
            cure="Take `logits.softmax(dim=-1)` first.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            sizes[1] == 1 or not close(got, expected / sizes[1]),
            "This is the blend divided by the number of experts.",
            cause="The gates sum to one already, and a mean divides once more.",
            cure="Sum over the experts, do not take the mean.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "This is not the gated sum of the answers.",
            cause="The gates are no softmax over the experts, the *last* dimension of the logits "
            "(but over tokens or all at once, a sigmoid, the best alone), or they meet another "
            "expert's answer.",
            cure='`torch.einsum("te,teo->to", logits.softmax(dim=-1), outputs)`.',
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("other inputs")
def _soft_edges(answer: Any, seed: int) -> None:
    outputs, logits, _ = inputs((7, 5, 3), seed)
    require_edges(answer, _blend, {"outputs": outputs, "logits": logits})


@EXERCISE.stage("gradient")
def _soft_gradient(answer: Any, seed: int) -> None:
    outputs, logits, _ = inputs((7, 5, 3), seed)
    require_gradients(answer, _blend, {"outputs": outputs, "logits": logits}, seed=seed)
