"""Exercise 2.3: the competitive error."""

from typing import Any

from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import (
    Mistakes,
    _own_errors,
    _scalar,
    require_edges,
    require_no_slip,
)
from moe_teach.chapters.ch02_mixtures.soft_mixture import SIZES, inputs
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.3",
    name="competitive_loss",
    title="The competitive error",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    needs=("2.2",),
    hints=(
        "The order of two operations is everything here: first each expert's own squared error, "
        "(T, E), then the gates.",
        "`targets[:, None, :] - outputs` is (T, E, O). Square, sum over the last dimension, "
        "multiply with the softmax of the logits, sum over the experts, mean over the tokens.",
        "errors = (targets[:, None, :] - outputs).square().sum(-1); "
        "return (logits.softmax(-1) * errors).sum(-1).mean()",
    ),
    explanation="An expert's error here does not contain the other experts, so it cannot lean on "
    "them. The gate only says how much it counts. That is why these experts can be used alone.",
)


def _competitive(outputs: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(dim=-1) * _own_errors(outputs, targets)).sum(dim=-1).mean()


@EXERCISE.stage("shape")
def _competitive_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets)
        _scalar(got, outputs=outputs, logits=logits, targets=targets)


def _competitive_mistakes(outputs: Tensor, logits: Tensor, targets: Tensor) -> Mistakes:
    """List what the usual slips compute, with symptom, cause and cure of each."""
    gates, errors = logits.softmax(dim=-1), _own_errors(outputs, targets)
    weighted = (gates * errors).sum(dim=-1)
    blend = (gates[..., None] * outputs).sum(dim=1)
    usual = (
        (
            (targets - blend).square().sum(dim=-1).mean(),
            "This is the cooperative error (1.1).",
            "The blend was compared with the target.",
            "Square each expert's own error first, then weigh.",
        ),
        (
            weighted.mean() / outputs.shape[2],
            "This is the error divided by the number of outputs.",
            "The squared norm is a sum over the outputs, not a mean.",
            "`.square().sum(dim=-1)`.",
        ),
        (
            (gates * errors).mean(),
            "The right sum, divided by the number of experts.",
            "`.mean()` without a dimension averages over the experts too.",
            "Sum over the experts first, then take the mean.",
        ),
    )
    return usual + _competitive_sums(logits, gates, errors)


def _competitive_sums(logits: Tensor, gates: Tensor, errors: Tensor) -> Mistakes:
    weighted = (gates * errors).sum(dim=-1)
    return (
        (
            weighted.sum(),
            "This is the sum over the tokens.",
            "A sum makes the loss grow with the batch.",
            "Take the mean over the tokens.",
        ),
        (
            (gates * errors.sqrt()).sum(dim=-1).mean(),
            "These are the norms themselves.",
            "Equation (1.2) has their squares.",
            "Leave the root out: `.square().sum(dim=-1)` is the squared norm.",
        ),
        (
            (logits * errors).sum(dim=-1).mean(),
            "The logits themselves were used as gates.",
            "Gates are positive and sum to one over the experts; logits are neither.",
            "Take `logits.softmax(dim=-1)` first.",
        ),
    )


@EXERCISE.stage("values")
def _competitive_values(answer: Any, seed: int) -> None:
    tries = []
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets)
        expected = _competitive(outputs, logits, targets)
        example = {"outputs": outputs, "logits": logits, "targets": targets}
        tell = {"expected": expected, "got": got, "example": example}
        tries.append((_competitive_mistakes(**example), tell))
    require_no_slip(tries)
    for _, tell in tries:
        require(
            close(tell["got"], tell["expected"]),
            "This is not the competitive error.",
            cause="One of the three sums runs along another axis, is weighed by something else "
            "than the gates, or a factor came in.",
            cure="Check the three sums: over the outputs (of squares), over the experts (weighted "
            "by the softmax of their logits), over the tokens (mean).",
            **tell,
        )


@EXERCISE.stage("other inputs")
def _competitive_edges(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((7, 5, 3), seed)
    given = {"outputs": outputs, "logits": logits, "targets": targets}
    require_edges(answer, _competitive, given)


@EXERCISE.stage("gradient")
def _competitive_gradient(answer: Any, seed: int) -> None:
    # The experts learn to answer and the router learns whom to trust: values, not only presence.
    outputs, logits, targets = inputs((5, 3, 2), seed)
    given = {"outputs": outputs, "logits": logits, "targets": targets}
    require_gradients(answer, _competitive, given, seed=seed)
