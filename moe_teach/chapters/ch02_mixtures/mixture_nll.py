"""Exercise 2.4: the likelihood of the mixture, with noise that is learned."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from moe_teach.chapters.ch02_mixtures.inputs import (
    SIZES,
    Mistakes,
    inputs,
    own_errors,
    require_edges,
    require_no_slip,
    require_scalar,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.4",
    name="mixture_nll",
    title="The likelihood learns its noise",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("2.3",),
    version=2,
    hints=(
        "The logarithm of a sum of products: each term is a gate times a density. What is the "
        "logarithm of one such term? It has three parts.",
        "log(p_i) is `logits.log_softmax(-1)`. The logarithm of the density is its exponent, less "
        "O/2 times log(2 pi) + log_variance_i: one O/2 for the O outputs. Add all, then "
        "`logsumexp` over the experts does the rest without overflow.",
        "fit = -errors / (2 * log_variances.exp()); norm = O / 2 * (log_variances + log(2 pi)); "
        "return -(logits.log_softmax(-1) + fit - norm).logsumexp(-1).mean()",
    ),
    explanation="Without the factor in front of the exponential the loss falls for ever as the "
    "variance grows, since a wide bell would cost nothing. With it each variance settles where it "
    "matches the squared errors of the examples that its expert is responsible for. One danger is "
    "left: an expert that fits its few examples exactly drives its variance to zero and the "
    "likelihood to infinity, so people share one variance or set a floor.",
)
_VARIANCES = "log_variances"


def _given(sizes: tuple[int, int, int], seed: int) -> dict[str, Tensor]:
    noise = 1.5 * torch.randn(sizes[1], generator=generator(seed + 1))
    return {**inputs(sizes, seed), _VARIANCES: noise}


def _likelihood(outputs: Tensor, logits: Tensor, targets: Tensor, log_variances: Tensor) -> Tensor:
    deviation = (log_variances / 2).exp()[None, :, None].expand_as(outputs)
    bells = Independent(Normal(outputs, deviation), 1)
    mixture = MixtureSameFamily(Categorical(logits=logits), bells)
    return -mixture.log_prob(targets).mean()


@EXERCISE.stage("shape")
def _likelihood_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _given(sizes, seed)
        require_scalar(answer(**given), **given)


def _nll(gates: Tensor, exponents: Tensor, front: Tensor) -> Tensor:
    return -(gates * front * (-exponents).exp()).sum(dim=-1).log().mean()


def _likelihood_mistakes(given: dict[str, Tensor]) -> Mistakes:
    """List what the usual slips compute, with symptom, cause and cure of each."""
    outputs, logits, targets, log_variances = (part.double() for part in given.values())
    gates, variances, d_out = logits.softmax(dim=-1), log_variances.exp(), outputs.shape[2]
    exponents = own_errors(outputs, targets) / (2 * variances)
    front = (2 * math.pi * variances) ** (-d_out / 2)
    usual = (
        (
            _nll(gates, exponents, torch.ones_like(front)),
            "The loss falls as a variance grows, whatever the errors are.",
            "The factor in front of the exponential is missing. It was a constant in the lesson, "
            "where the variance was.",
            "Take -O/2 (log(2 pi) + log_variance) into the logarithm of each term.",
        ),
        (
            _nll(gates, exponents, (2 * math.pi * variances) ** -0.5),
            "The factor in front of the exponential is that of a single output.",
            "O outputs have O such bells, and their densities are multiplied.",
            "Its logarithm counts O times: -O/2 (log(2 pi) + log_variance).",
        ),
        (
            _nll(gates, exponents, variances ** (-d_out / 2)),
            "The loss is off by the same constant for every input.",
            "2 pi is missing in front of the exponential.",
            "Add O/2 log(2 pi).",
        ),
        (
            -_nll(gates, exponents, front),
            "The sign is turned.",
            "This is the log-likelihood, and a loss is its negative.",
            "Put a minus before the mean.",
        ),
        (
            _nll(gates, 2 * exponents, front),
            "Every error counts twice.",
            "The exponent is divided by the variance and not by twice the variance.",
            "errors / (2 * variance), with the brackets.",
        ),
    )
    return usual + _likelihood_others(gates, logits, exponents, front)


def _likelihood_others(gates: Tensor, logits: Tensor, exponents: Tensor, front: Tensor) -> Mistakes:
    terms = (gates * front * (-exponents).exp()).sum(dim=-1)
    return (
        (
            _nll(logits.exp(), exponents, front),
            "The logits stand in the place of the gates' logarithms.",
            "They are those only once they are normalised.",
            "Normalise them first: log_softmax over the experts.",
        ),
        (
            -terms.mean().log(),
            "The mean over the tokens was taken inside the logarithm.",
            "Every token has a logarithm of its own.",
            "Average the logarithms: `.mean()` comes last.",
        ),
        (
            _nll(gates, exponents, front) * len(gates),
            "This is the sum over the tokens.",
            "A sum makes the loss grow with the batch.",
            "Take the mean over the tokens.",
        ),
    )


@EXERCISE.stage("values")
def _likelihood_values(answer: Any, seed: int) -> None:
    tries = []
    for sizes in SIZES:
        given = _given(sizes, seed)
        tell = {"expected": _likelihood(**given), "got": answer(**given), "example": given}
        tries.append((_likelihood_mistakes(given), tell))
    require_no_slip(tries)
    for _, tell in tries:
        require(
            close(tell["got"], tell["expected"]),
            "This is not the negative log-likelihood of the mixture.",
            cause="A sign or a factor is another one, the gates are no softmax over the experts, a "
            "variance belongs to another axis, or its logarithm was taken for it.",
            cure="For each token and expert: log_softmax of the logits, minus error / (2 "
            "variance), minus O/2 log(2 pi variance); `logsumexp` over the experts; minus the mean "
            "over the tokens.",
            **tell,
        )


def _compare_far(
    answer: Any,
    given: dict[str, Tensor],
    cause: str = "Something was added inside the logarithm to keep it finite, or cut off.",
    cure: str = "Use logsumexp, which needs no such help.",
) -> None:
    got, expected = answer(**given), _likelihood(**given)
    tell = {"expected": expected, "got": got, "example": given}
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
        cause=cause,
        cure=cure,
        **tell,
    )


@EXERCISE.stage("far off")
def _likelihood_far(answer: Any, seed: int) -> None:
    given = _given((3, 4, 2), seed)
    _compare_far(answer, {**given, "targets": given["targets"] + 300.0})
    one_token = given["targets"].clone()
    one_token[1] += 100.0
    _compare_far(answer, {**given, "targets": one_token})
    # The only expert that is near has a gate that rounds to zero.
    near, gates = given["outputs"] + 100.0, given["logits"] - 300.0 * (torch.arange(4) == 1)
    near[:, 1] = given["targets"]
    _compare_far(
        answer,
        {**given, "outputs": near, "logits": gates},
        cause="The gate of the one expert that is near was rounded to zero, and then its logarithm "
        "was taken.",
        cure="`logits.log_softmax(-1)` gives a gate's logarithm without the gate.",
    )


@EXERCISE.stage("extreme noise")
def _likelihood_noise(answer: Any, seed: int) -> None:
    given = _given((3, 4, 40), seed)
    for shift, what in ((-6.0, "small"), (12.0, "large")):
        tried = {**given, _VARIANCES: given[_VARIANCES] + shift}
        got, expected = answer(**tried), _likelihood(**tried)
        require(
            bool(torch.isfinite(got)) and close(got, expected),
            f"With 40 outputs and a {what} noise the loss is infinite, NaN or another number.",
            cause="A variance to the power of O/2 is no number that float32 holds: its logarithm "
            "was taken too late.",
            cure="The logarithm of the variance is given. Multiply it by O/2 and add it.",
            expected=expected,
            got=got,
            example=tried,
        )


@EXERCISE.stage("other inputs")
def _likelihood_edges(answer: Any, seed: int) -> None:
    require_edges(answer, _likelihood, _given((7, 5, 3), seed))


@EXERCISE.stage("gradient")
def _likelihood_gradient(answer: Any, seed: int) -> None:
    require_gradients(answer, _likelihood, _given((7, 5, 3), seed), seed=seed)
