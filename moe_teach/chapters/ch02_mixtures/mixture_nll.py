"""Exercise 2.4: the likelihood of the mixture."""

from typing import Any

import torch
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
    id="2.4",
    name="mixture_nll",
    title="The likelihood of the mixture",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("2.3",),
    hints=(
        "The logarithm of a sum of products: each term is a gate times an exponential. What is the "
        "logarithm of one such term?",
        "log(p_i) is `logits.log_softmax(-1)`, and the log of the exponential is its exponent. Add "
        "them, then `logsumexp` over the experts does the rest without overflow.",
        "-(logits.log_softmax(-1) - errors / (2 * variance)).logsumexp(-1).mean()",
    ),
    explanation="logsumexp subtracts the largest term before it exponentiates, so nothing rounds "
    "to log(0). Its gradient is the posterior of equation (1.5): whoever explains the example best "
    "learns most from it.",
)


@EXERCISE.stage("shape")
def _likelihood_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets, 0.5)
        _scalar(got, outputs=outputs, logits=logits, targets=targets, variance=0.5)


def _likelihood(outputs: Tensor, logits: Tensor, targets: Tensor, variance: float) -> Tensor:
    exponents = _own_errors(outputs, targets) / (2 * variance)
    return -(logits.log_softmax(dim=-1) - exponents).logsumexp(dim=-1).mean()


def _nll(gates: Tensor, exponents: Tensor) -> Tensor:
    return -(gates * (-exponents).exp()).sum(dim=-1).log().mean()


def _likelihood_mistakes(logits: Tensor, errors: Tensor, variance: float) -> Mistakes:
    """List what the usual slips compute, with symptom, cause and cure of each."""
    logits, errors = logits.double(), errors.double()  # no slip may round to infinity
    gates, exponents = logits.softmax(dim=-1), errors / (2 * variance)
    usual = (
        (
            -_nll(gates, exponents),
            "The sign is turned.",
            "This is the log-likelihood, and a loss is its negative.",
            "Put a minus before the mean.",
        ),
        (
            _nll(gates, 2 * exponents),
            "Every error counts twice.",
            "The exponent is divided by the variance and not by twice the variance.",
            "errors / (2 * variance), with the brackets.",
        ),
        (
            _nll(gates, exponents / variance),
            "The variance was squared.",
            "It is the square already: `variance` stands for sigma^2.",
            "errors / (2 * variance), without a power.",
        ),
        (
            _nll(logits.exp(), exponents),
            "The logits stand in the place of the gates' logarithms.",
            "They are those only once they are normalised.",
            "Normalise them first: log_softmax over the experts.",
        ),
    )
    return usual + _likelihood_means(gates, exponents)


def _likelihood_means(gates: Tensor, exponents: Tensor) -> Mistakes:
    terms = (gates * (-exponents).exp()).sum(dim=-1)
    return (
        (
            -terms.mean().log(),
            "The mean over the tokens was taken inside the logarithm.",
            "Every token has a logarithm of its own.",
            "Average the logarithms: `.mean()` comes last.",
        ),
        (
            _nll(gates, exponents) * len(gates),
            "This is the sum over the tokens.",
            "A sum makes the loss grow with the batch.",
            "Take the mean over the tokens.",
        ),
    )


@EXERCISE.stage("values")
def _likelihood_values(answer: Any, seed: int) -> None:
    tries = []
    for sizes in SIZES:
        for variance in (1.0, 0.25, 3.0):
            outputs, logits, targets = inputs(sizes, seed)
            got = answer(outputs, logits, targets, variance)
            errors = _own_errors(outputs, targets)
            expected = _likelihood(outputs, logits, targets, variance)
            example = {"outputs": outputs, "logits": logits, "targets": targets}
            tell = {"expected": expected, "got": got, "example": {**example, "variance": variance}}
            tries.append((_likelihood_mistakes(logits, errors, variance), tell))
    require_no_slip(tries)
    for _, tell in tries:
        require(
            close(tell["got"], tell["expected"]),
            "This is not the negative log-likelihood of (1.3).",
            cause="A sign or a factor in the exponent is another one, the gates are no softmax "
            "over the experts, a constant came in, or the logarithm stands in another place.",
            cure="For each token: log_softmax of the logits minus error / (2 variance), "
            "`logsumexp` over the experts; then minus the mean over the tokens.",
            **tell,
        )


def _compare_far(answer: Any, outputs: Tensor, logits: Tensor, targets: Tensor) -> None:
    example = {"outputs": outputs, "logits": logits, "targets": targets, "variance": 0.01}
    expected, got = _likelihood(*example.values()), answer(*example.values())
    tell = {"expected": expected, "got": got, "example": example}
    require(
        bool(torch.isfinite(got)),
        "With experts far off, their exponentials round to zero, and the loss became infinite or "
        "NaN.",
        cause="`exp` was taken before the sum, or one maximum was subtracted for all tokens.",
        cure="Stay in logarithms: log-softmax for the gates, logsumexp for the sum.",
        **tell,
    )
    require(
        close(got, expected),
        "Far from the target another value comes.",
        cause="Something was added inside the logarithm to keep it finite, or cut off.",
        cure="Use logsumexp, which needs no such help.",
        **tell,
    )


@EXERCISE.stage("far off")
def _likelihood_far(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((3, 4, 2), seed)
    _compare_far(answer, outputs, logits, targets + 300.0)
    one_token = targets.clone()
    one_token[1] += 100.0
    _compare_far(answer, outputs, logits, one_token)
    # The only expert that is near has a gate that rounds to zero.
    near = outputs + 100.0
    near[:, 1] = targets
    _compare_far(answer, near, logits - 300.0 * (torch.arange(4) == 1), targets)


@EXERCISE.stage("other inputs")
def _likelihood_edges(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((7, 5, 3), seed)
    given = {"outputs": outputs, "logits": logits, "targets": targets, "variance": 0.5}
    require_edges(answer, _likelihood, given)


@EXERCISE.stage("gradient")
def _likelihood_gradient(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((7, 5, 3), seed)
    given = {"outputs": outputs, "logits": logits, "targets": targets, "variance": 0.5}
    require_gradients(answer, _likelihood, given, seed=seed)
