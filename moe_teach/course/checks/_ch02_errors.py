"""Chapter 02, exercises 2.3 and 2.4: the two errors that make specialists."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.course.checks._ch02_soft import SIZES, inputs
from moe_teach.judging.compare import close, require_tensor
from moe_teach.judging.exercise import Exercise, require

COMPETITIVE = Exercise(
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


def _scalar(got: Any, **example: Any) -> None:
    require_tensor(got, example)
    require(
        got.dim() == 0,
        "The loss is one number: take the mean over the tokens at the end.",
        got=got,
        example=example,
    )


def _own_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (targets[:, None, :] - outputs).square().sum(dim=-1)


@COMPETITIVE.stage("shape")
def _competitive_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets)
        _scalar(got, outputs=outputs, logits=logits, targets=targets)


@COMPETITIVE.stage("values")
def _competitive_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets)
        expected = (logits.softmax(dim=-1) * _own_errors(outputs, targets)).sum(dim=-1).mean()
        example = {"outputs": outputs, "logits": logits, "targets": targets}
        tell = {"expected": expected, "got": got, "example": example}
        for mistaken, sentence in _competitive_mistakes(**example):
            is_it = close(got, mistaken) and not close(mistaken, expected)
            require(not is_it, sentence, **tell)
        require(
            close(got, expected),
            "The error is off. Check the three sums: over the outputs (sum), over the experts "
            "(weighted by the gates), over the tokens (mean).",
            **tell,
        )


def _competitive_mistakes(
    outputs: Tensor, logits: Tensor, targets: Tensor
) -> tuple[tuple[Tensor, str], ...]:
    """List what the usual slips compute, with a sentence for each."""
    gates, errors = logits.softmax(dim=-1), _own_errors(outputs, targets)
    weighted = (gates * errors).sum(dim=-1)
    blend = (gates[..., None] * outputs).sum(dim=1)
    return (
        (
            (targets - blend).square().sum(dim=-1).mean(),
            "This is the cooperative error (1.1): the blend was compared with the target. Square "
            "each expert's own error first, then weigh.",
        ),
        (
            weighted.mean() / outputs.shape[2],
            "The squared norm is a sum over the outputs, not a mean.",
        ),
        (
            (gates * errors).mean(),
            "The right sum, divided by the number of experts. `.mean()` without a dimension "
            "averages over the experts too: sum over them first, then take the mean.",
        ),
        (
            weighted.sum(),
            "This is the sum over the tokens. Take their mean, so that the loss does not grow with "
            "the batch.",
        ),
        (
            (gates * errors.sqrt()).sum(dim=-1).mean(),
            "These are the norms themselves. Equation (1.2) has their squares.",
        ),
    )


@COMPETITIVE.stage("gradient")
def _competitive_gradient(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((5, 3, 2), seed)
    leaves = [outputs.requires_grad_(), logits.requires_grad_()]
    got = answer(outputs, logits, targets)
    grads = (
        torch.autograd.grad(got, leaves, allow_unused=True) if got.requires_grad else (None, None)
    )
    require(
        all(grad is not None and bool(grad.abs().sum() > 0) for grad in grads),
        "A gradient must reach both the experts' outputs and the logits: the experts learn to "
        "answer and the router learns whom to trust. Is there a detach() or no_grad()?",
        example={"outputs": outputs, "logits": logits, "targets": targets},
    )


LIKELIHOOD = Exercise(
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


@LIKELIHOOD.stage("shape")
def _likelihood_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        outputs, logits, targets = inputs(sizes, seed)
        got = answer(outputs, logits, targets, 0.5)
        _scalar(got, outputs=outputs, logits=logits, targets=targets, variance=0.5)


@LIKELIHOOD.stage("values")
def _likelihood_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        for variance in (1.0, 0.25):
            outputs, logits, targets = inputs(sizes, seed)
            got = answer(outputs, logits, targets, variance)
            errors, gates = _own_errors(outputs, targets), logits.softmax(dim=-1)
            expected = _nll(gates, errors / (2 * variance))
            example = {"outputs": outputs, "logits": logits, "targets": targets}
            tell = {"expected": expected, "got": got, "example": {**example, "variance": variance}}
            for mistaken, sentence in _likelihood_mistakes(logits, errors, variance):
                is_it = close(got, mistaken) and not close(mistaken, expected)
                require(not is_it, sentence, **tell)
            require(
                close(got, expected),
                "The likelihood is off. For each token: sum over the experts of gate times "
                "exp(-error / (2 variance)), then the logarithm, then minus the mean.",
                **tell,
            )


def _nll(gates: Tensor, exponents: Tensor) -> Tensor:
    return -(gates * (-exponents).exp()).sum(dim=-1).log().mean()


def _likelihood_mistakes(
    logits: Tensor, errors: Tensor, variance: float
) -> tuple[tuple[Tensor, str], ...]:
    """List what the usual slips compute, with a sentence for each."""
    logits, errors = logits.double(), errors.double()  # no slip may round to infinity
    gates, exponents = logits.softmax(dim=-1), errors / (2 * variance)
    terms = (gates * (-exponents).exp()).sum(dim=-1)
    return (
        (
            -_nll(gates, exponents),
            "The sign is turned: this is the log-likelihood, and a loss is its negative.",
        ),
        (
            _nll(gates, 2 * exponents),
            "The exponent is divided by the variance and not by twice the variance.",
        ),
        (
            _nll(gates, exponents / variance),
            "The variance was squared. It is the square already: `variance` stands for sigma^2.",
        ),
        (
            _nll(logits.exp(), exponents),
            "The logits stand in the place of the gates' logarithms. Normalise them first: "
            "log_softmax over the experts.",
        ),
        (
            -terms.mean().log(),
            "The mean over the tokens was taken inside the logarithm. Every token has a "
            "logarithm of its own; average those.",
        ),
    )


@LIKELIHOOD.stage("far off")
def _likelihood_far(answer: Any, seed: int) -> None:
    outputs, logits, targets = inputs((3, 4, 2), seed)
    targets = targets + 100.0
    got = answer(outputs, logits, targets, 0.01)
    errors = _own_errors(outputs, targets)
    expected = -(logits.log_softmax(-1) - errors / 0.02).logsumexp(-1).mean()
    require(
        bool(torch.isfinite(got)),
        "With all experts far off, every exponential rounds to zero, and the loss became infinite "
        "or NaN. Stay in logarithms: log-softmax for the gates, logsumexp for the sum.",
        expected=expected,
        got=got,
        example={"outputs": outputs, "logits": logits, "targets": targets, "variance": 0.01},
    )
    require(
        close(got, expected),
        "Far from the target the value is off. Was something added inside the logarithm to keep it "
        "finite? Use logsumexp, which needs no such help.",
        expected=expected,
        got=got,
        example={"outputs": outputs, "logits": logits, "targets": targets, "variance": 0.01},
    )
