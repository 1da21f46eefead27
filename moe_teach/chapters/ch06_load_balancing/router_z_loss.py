"""Chapter 06, exercise 6.2: the loss that keeps logits small."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import one_number
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="6.2",
    name="router_z_loss",
    title="The z-loss",
    points=1,
    difficulty=2,
    importance=4,
    minutes=10,
    hints=(
        "For each token there is one number, the logarithm of the softmax's denominator. Square "
        "it, then average over the tokens.",
        "`torch.logsumexp(logits, dim=-1)` is that number and does not overflow. Square first, "
        "then take the mean: the order matters.",
        "return logits.float().logsumexp(dim=-1).square().mean()",
    ),
    explanation="A softmax does not change when a constant is added to all logits of a token; this "
    "loss does, and so it takes the freedom away in which logits drift upwards until rounding "
    "hides the difference between two experts. `logsumexp` subtracts the maximum first, which is "
    "why it survives logits of 1000.",
)


SIZES = ((1, 3), (3, 5), (7, 11), (5, 4), (31, 13))  # tokens, experts


def _z_loss(logits: Tensor) -> Tensor:
    return logits.logsumexp(dim=-1).square().mean()


@EXERCISE.stage("a number")
def _z_number(answer: Any, seed: int) -> None:
    for n_tokens, n_experts in SIZES:
        example = {"logits": torch.randn(n_tokens, n_experts, generator=generator(seed))}
        one_number(answer(**example), example)


@EXERCISE.stage("value")
def _z_value(answer: Any, seed: int) -> None:
    for n_tokens, n_experts in ((1, 1), (2, 3), *SIZES):
        logits = 1 + torch.randn(n_tokens, n_experts, generator=generator(seed))
        example = {"logits": logits}
        got, expected = one_number(answer(logits), example), _z_loss(logits)
        require(
            close(got, expected),
            "This is not the mean over the tokens of the squared log-sum-exp over the experts.",
            **likely(got, expected, _slips(logits), _OTHER),
            expected=expected,
            got=got,
            example=example,
        )


_OTHER = Why(
    "Something is subtracted, or squared in another place.",
    "logsumexp over dim=-1, square, mean: in this order, and nothing else.",
)


def _slips(logits: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Values of known mistakes, and what to say to them."""
    log_total = logits.logsumexp(dim=-1)
    values = {
        "not squared": log_total.mean(),
        "summed": log_total.square().sum(),
        "over experts too": log_total.square().sum() / logits.numel(),
        "coefficient": 0.001 * log_total.square().mean(),
        "squared late": log_total.mean().square(),
        "over tokens": logits.logsumexp(dim=0).square().mean(),
        "logits": logits.square().mean(),
        "probabilities": logits.softmax(dim=-1).logsumexp(dim=-1).square().mean(),
        "log-probabilities": logits.log_softmax(dim=-1).square().mean(),
        "mean inside": (log_total - math.log(logits.shape[-1])).square().mean(),
        "largest": logits.amax(dim=-1).square().mean(),
        "no way back": (log_total - logits.amax(dim=-1)).square().mean(),
        "all at once": logits.flatten().logsumexp(dim=0).square(),
    }
    return tuple((value, _WORDS[name]) for name, value in values.items())


_WORDS = {
    "not squared": Why(
        "The log-sum-exp is not squared. A router would earn by pushing its logits towards minus "
        "infinity.",
        "Square each token's log-sum-exp.",
    ),
    "summed": Why("This is the sum over the tokens.", "Take the mean, or the loss grows with T."),
    "over experts too": Why(
        "It was divided by T * E, and there is one value per token.",
        "Take the mean over the T tokens.",
    ),
    "coefficient": Why(
        "A coefficient slipped in.", "This function measures; the trainer multiplies."
    ),
    "squared late": Why(
        "Here the mean was squared, and a large positive and a large negative value cancel.",
        "Square each token's value first.",
    ),
    "over tokens": Why(
        "The log-sum-exp ran over the tokens.",
        "It belongs to one token and runs over its experts, dim=-1.",
    ),
    "logits": Why(
        "These are the squared logits themselves.",
        "Square one number per token, the log-sum-exp over its experts.",
    ),
    "probabilities": Why(
        "Probabilities went in where logits belong.", "No softmax before the log-sum-exp."
    ),
    "log-probabilities": Why(
        "These are squared log-probabilities: `log_softmax` has the log-sum-exp subtracted "
        "already, so a shift of all logits leaves no trace, and the shift is what is punished.",
        "Use `torch.logsumexp`.",
    ),
    "mean inside": Why(
        "The exponentials were averaged over the experts.", "Sum them: log-*sum*-exp."
    ),
    "largest": Why("This is the largest logit alone.", "All experts of a token count."),
    "no way back": Why(
        "The maximum was subtracted before `exp` and not added again after `log`.",
        "Add it, or let `torch.logsumexp` do both.",
    ),
    "all at once": Why(
        "One log-sum-exp was taken over all tokens together.",
        "Each token has its own, over its experts: dim=-1.",
    ),
}


@EXERCISE.stage("large logits")
def _z_large(answer: Any, seed: int) -> None:
    noise = torch.randn(5, 5, generator=generator(seed))
    for levels in ([1000.0] * 5, [-1000.0] * 5, [200.0, 0.0, -200.0, 1000.0, -1000.0]):
        example = {"logits": torch.tensor(levels)[:, None] + noise}
        got, expected = one_number(answer(**example), example), _z_loss(**example)
        require(
            len(set(levels)) == 1 or bool(torch.isfinite(got)),
            "Tokens that are right when all are alike overflow beside each other: here their "
            "logits lie 200 and more apart.",
            cause="One maximum was subtracted for all, and each token has its own.",
            cure="Take the maximum over dim=-1, or let `torch.logsumexp` do it.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            bool(torch.isfinite(got)),
            "Logits near 1000 or -1000 overflow.",
            cause="In float32 exp(1000) is infinite, and log(0) is minus infinity.",
            cure="`torch.logsumexp` subtracts each token's maximum before it exponentiates.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "Near zero the loss is right, and far from it it is another number.",
            cause="Something is added, cut off, or subtracted that is the same for all tokens.",
            cure="Nothing is: use the logits as they come.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("float32")
def _z_float32(answer: Any, seed: int) -> None:
    noise = torch.randn(7, 5, generator=generator(seed))
    for logits in ((3 * noise).bfloat16(), (300 + 3 * noise).half(), (300 + 3 * noise).double()):
        kind = str(logits.dtype).removeprefix("torch.")
        example = {"logits": logits}
        got = one_number(answer(logits), example)
        expected = _z_loss(logits.double())
        require(
            got.dtype in (torch.float32, torch.float64),
            f"Logits in {kind} give a loss in {str(got.dtype).removeprefix('torch.')}.",
            cause="Nothing was converted, or the result was converted back.",
            cure="Convert the logits first: the loss is at least in float32, whatever comes in.",
            expected=expected,
            got=Words(f"{float(got):.6f} in {str(got.dtype).removeprefix('torch.')}"),
            example=example,
        )
        require(
            close(got.float(), expected.float()),
            f"Logits in {kind} give another loss than the same numbers in float32.",
            cause="It was computed in low precision: bfloat16 keeps 8 bits, float16 ends at "
            "65,504, and this loss is there because logits get large.",
            cure="Convert the logits to float32 first, not the result.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("gradient")
def _z_gradient(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, level in ((3, 5, 0.0), (1, 1, 0.0), (4, 7, 1000.0)):
        logits = level + torch.randn(n_tokens, n_experts, generator=generator(seed))
        require_gradients(answer, _z_loss, {"logits": logits}, seed=seed)
