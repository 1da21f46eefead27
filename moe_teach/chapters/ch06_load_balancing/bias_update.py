"""Chapter 06, exercise 6.3: one step of balancing without a loss."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.bias_words import WORDS
from moe_teach.chapters.ch06_load_balancing.inputs import (
    call_with_idle_experts,
    even_ids,
    ids_of_counts,
    random_ids,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="6.3",
    name="bias_update",
    title="The bias that needs no loss",
    points=1,
    difficulty=2,
    importance=4,
    minutes=10,
    hints=(
        "Compare each expert's count with the mean count. Only the direction of the difference "
        "matters, and `torch.sign` gives it: -1, 0 or 1.",
        "Count with `torch.bincount(expert_ids.flatten(), minlength=len(expert_bias))`, turn the "
        "counts to float, and take the sign of mean minus count.",
        "return expert_bias + rate * torch.sign(counts.mean() - counts)",
    ),
    explanation="An idle expert's bias rises until it is chosen. Because only the sign counts, one "
    "wild batch cannot throw the bias off, but near balance it keeps trembling by `rate`: so the "
    "rate must be small beside the differences between scores. The task's gradient is not "
    "touched; that is the point of the method.",
)

SIZES = ((1, 1, 1), (1, 3, 2), (3, 5, 2), (7, 11, 3), (31, 7, 1), (19, 40, 6))  # T, E, K
RATES = (0.125, 0.5, 0.001)
COUNTS = (  # of tokens for each expert: known mistakes give different steps
    [8, 3, 2, 1, 0, 0],
    [3, 2, 1],  # above, at and below the mean
    [0, 4, 2, 2, 2],
    [300, 20, 40],  # eight bits hold 255
    [33_000, 5, 900, 40],  # sixteen bits hold 32,767
    [2049, 2050, 2048, 2051],  # in float16 and bfloat16 these are no longer four numbers
)


def _case(n_experts: int, expert_ids: Tensor, rate: float, seed: int) -> dict[str, Any]:
    bias = torch.randn(n_experts, generator=generator(seed))
    return {"expert_bias": bias, "expert_ids": expert_ids, "rate": rate}


def _random_case(sizes: tuple[int, int, int], seed: int) -> dict[str, Any]:
    return _case(sizes[1], random_ids(*sizes, seed), RATES[sizes[0] % 3], seed)


def _told_case(counts: list[int], seed: int) -> dict[str, Any]:
    return _case(len(counts), ids_of_counts(counts, seed), RATES[len(counts) % 3], seed)


def _counts(given: dict[str, Any]) -> Tensor:
    return torch.bincount(given["expert_ids"].flatten(), minlength=len(given["expert_bias"]))


@EXERCISE.stage("idle experts")
def _bias_idle(answer: Any, seed: int) -> None:
    given = _case(5, torch.tensor([[0], [2], [0]]), 0.125, seed)
    call_with_idle_experts(
        answer,
        given,
        "They are the ones this rule is for: give bincount `minlength=len(expert_bias)`.",
    )


@EXERCISE.stage("shape")
def _bias_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _random_case(sizes, seed)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == (sizes[1],) and got.is_floating_point(),
            f"The new bias is not one float per expert, shape ({sizes[1]},) here.",
            cause="It has another axis, or became integers: counts have none of the bias's floats.",
            cure="Add a step of shape (E,) to `expert_bias`.",
            got=got,
            example=given,
        )


ELEVEN = 11
ROUNDED = Why(
    "A mean of shares may be rounded away from all of them, and then nobody stands at it.",
    "Compare counts, which are whole numbers.",
)
NO_THIRD_WAY = Why(
    "An expert at the mean belongs to neither side, and a plain `if`/`else` has no third way.",
    "`torch.sign(0)` is 0.",
)


@EXERCISE.stage("at the mean")
def _bias_still(answer: Any, seed: int) -> None:
    # Float32 rounds the mean of some shares away from them: of 1/11 for one.
    for n_tokens, n_experts, top_k in ((3, 3, 1), (1, 1, 1), (5, 5, 2), (ELEVEN, ELEVEN, 1)):
        given = _case(n_experts, even_ids(n_tokens, n_experts, top_k), 0.125, seed)
        bias, got = given["expert_bias"], answer(**given)
        require(
            not close(got, torch.zeros(n_experts)),
            "Nothing is left of the old bias.",
            cause="The step alone came back, and it is 0 for everybody here.",
            cure="Return the new bias: the old one plus the step.",
            expected=bias,
            got=got,
            example=given,
        )
        require(
            n_experts == 1 or not close(got, bias - bias.mean()),
            "Every expert has exactly the mean count here, and all biases moved by the same.",
            cause="The bias was centred as well. A common shift changes no choice, but nobody "
            "asked for it.",
            cure="Do not subtract the mean of the bias.",
            expected=bias,
            got=got,
            example=given,
        )
        require(
            close(got, bias),
            "Every expert has exactly the mean count here, so no bias may move.",
            **(ROUNDED if n_experts == ELEVEN else NO_THIRD_WAY)._asdict(),
            expected=bias,
            got=got,
            example=given,
        )
        require(
            got.data_ptr() != bias.data_ptr(),
            "The new bias is the old tensor itself: who changes the one changes the other.",
            cause="Where no bias moves, the old one was handed back.",
            cure="Return a new tensor, also then.",
            example=given,
        )


@EXERCISE.stage("step")
def _bias_step(answer: Any, seed: int) -> None:
    told = [_told_case(counts, seed) for counts in COUNTS]
    for given in (*told, *(_random_case(sizes, seed) for sizes in SIZES[1:])):
        counts, bias = _counts(given).float(), given["expert_bias"]
        step = given["rate"] * torch.sign(counts.mean() - counts)
        got = answer(**given)
        slips = [(bias + value, why) for value, why in _slips(given, counts)]
        require(
            close(got, bias + step),
            "The bias moves by another step than the rule's.",
            **likely(got, bias + step, slips, _OTHER),
            expected=bias + step,
            got=got,
            example=given,
        )


_OTHER = Why(
    "Another count, another mean, or something else than the sign of their difference.",
    "Plus `rate` below the mean count, minus `rate` above it, the mean taken over all experts, "
    "chosen or not.",
)


def _slips(given: dict[str, Any], counts: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Steps of known mistakes, and what to say to them."""
    rate, mean = given["rate"], counts.mean()
    used, shares = counts[counts > 0].mean(), counts / counts.sum()
    first = torch.bincount(given["expert_ids"][:, 0], minlength=len(counts)).float()
    steps = {
        "sixteen bits": rate * (counts.short().float().mean() - counts.short().float()).sign(),
        "rounded": rate * (mean.floor() - counts).sign(),
        "reversed": rate * (counts - mean).sign(),
        "grows": rate * (mean - counts),
        "grows with the load": rate * (mean - counts) / counts.sum(),
        "first choice": rate * (first.mean() - first).sign(),
        "used experts": rate * (used - counts).sign(),
        "upwards only": rate * (counts < mean),
        "no third way": torch.where(counts < mean, rate, -rate),
        "nor the other": torch.where(counts > mean, -rate, rate),
        "low precision": rate * (counts.half().mean() - counts.half()).sign(),
        "median": rate * (counts.median() - counts).sign(),
        "tokens": rate * (given["expert_ids"].shape[0] / len(counts) - counts).sign(),
        "few": rate * (counts == counts.min()).float() - rate * (counts == counts.max()).float(),
        "rounded shares": rate * (shares.mean() - shares).sign(),
    }
    return tuple((step, WORDS[name]) for name, step in steps.items())
