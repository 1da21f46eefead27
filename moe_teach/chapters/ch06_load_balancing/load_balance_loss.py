"""Chapter 06, exercise 6.1: the loss that makes busy experts dear."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import (
    balance,
    call_with_idle_experts,
    even_ids,
    one_number,
    random_ids,
    random_probs,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="6.1",
    name="load_balance_loss",
    title="The balancing loss",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "Two vectors with one entry per expert, multiplied entry by entry and summed: how much an "
        "expert was chosen, and how probable it was on average. The first is counted.",
        "`torch.bincount(expert_ids.flatten(), minlength=E)` counts all k choices; divide by "
        "`expert_ids.numel()`. The mean probability is `probs.mean(dim=0)`.",
        "n_experts = probs.shape[-1]; load = bincount(...) / expert_ids.numel(); return n_experts "
        "* (load * probs.mean(dim=0)).sum()",
    ),
    explanation="The count has no gradient, so the load works as a fixed price for each expert: "
    "the busier, the dearer its probability. Dividing by T * K and not by T makes even routing "
    "cost 1 for every k. Published code differs here (Hugging Face and flaxformer divide by T, "
    "and even routing costs k), so a coefficient only has a meaning beside its formula.",
)

EVEN = ((1, 1, 1), (6, 3, 2), (6, 3, 1), (7, 7, 3))  # tokens, experts, top_k: everyone equally busy
SIZES = ((1, 3, 2), (3, 5, 2), (7, 11, 3), (5, 4, 4), (31, 13, 1), (17, 40, 6))


@EXERCISE.stage("a number")
def _balance_number(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in EVEN:
        probs = random_probs(n_tokens, n_experts, seed)
        example = {"probs": probs, "expert_ids": even_ids(n_tokens, n_experts, top_k)}
        one_number(answer(**example), example)


@EXERCISE.stage("even is 1")
def _balance_even(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in EVEN:
        # Counts are even, so the sum of load * mean_probs is 1 / E for every probs.
        probs, ids = (
            random_probs(n_tokens, n_experts, seed),
            even_ids(n_tokens, n_experts, top_k),
        )
        example = {"probs": probs, "expert_ids": ids}
        got, one = one_number(answer(probs, ids), example), torch.ones(())
        slips = (*_factors(n_tokens, n_experts, top_k), *_slips(probs, ids))
        require(
            abs(float(got) - 1) < 1e-4,
            "All experts are equally busy here, so the loss must be 1 for any probabilities.",
            **likely(got, one, slips, _OTHER),
            expected=1.0,
            got=got,
            example=example,
        )


_OTHER = Why(
    "One of the two vectors is another one: the load, or the mean probability.",
    "The loss is E times the sum over all experts of (share of the choices) times (mean "
    "probability over all tokens).",
)


def _factors(n_tokens: int, n_experts: int, top_k: int) -> tuple[tuple[Tensor, Why], ...]:
    """What comes out for even routing when a factor is wrong, and what to say to it."""
    slips = {
        float(top_k): Why(
            "It is k times too large: each token makes k choices.",
            "The load is the count divided by T * K and not by T.",
        ),
        1 / n_experts: Why(
            "It is E times too small: the factor E in front is missing, or a mean over the experts "
            "stands where their sum belongs.",
            "Multiply by E, and sum.",
        ),
        float(n_tokens): Why(
            "It is T times too large: the probabilities were summed over the tokens.",
            "Average them.",
        ),
        float(n_tokens * top_k): Why(
            "It is T * K times too large: the load is a share, not a count.",
            "Divide by the number of choices.",
        ),
        float(n_experts): Why(
            "It is E times too large: the loads of all experts must sum to 1.",
            "Divide the counts by the number of choices.",
        ),
        1 / top_k: Why(
            "It is k times too small: the choices were divided by k twice.",
            "Divide the counts by all T * K choices, once.",
        ),
        0.0: Why(
            "Something was subtracted, or `//` rounded the load down.",
            "Even routing costs 1 in this normalisation, not 0.",
        ),
    }
    return tuple((torch.tensor(value), words) for value, words in slips.items())


@EXERCISE.stage("idle experts")
def _balance_idle(answer: Any, seed: int) -> None:
    probs, ids = random_probs(3, 5, seed), torch.tensor([[0, 1], [1, 0], [0, 2]])
    example = {"probs": probs, "expert_ids": ids}
    call_with_idle_experts(
        answer,
        example,
        "Experts without tokens still need a load, 0: give bincount `minlength=E`.",
    )


@EXERCISE.stage("value")
def _balance_value(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        probs = random_probs(n_tokens, n_experts, seed)
        ids = random_ids(n_tokens, n_experts, top_k, seed)
        example = {"probs": probs, "expert_ids": ids}
        got, expected = one_number(answer(**example), example), balance(probs, ids)
        require(
            close(got, expected),
            "Even routing is right and uneven routing is not.",
            **likely(got, expected, _slips(probs, ids), _OTHER),
            expected=expected,
            got=got,
            example=example,
        )


def _slips(probs: Tensor, ids: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Values of known mistakes, and what to say to them."""
    return (*_slips_of_the_load(probs, ids), *_slips_of_the_means(probs, ids))


def _slips_of_the_load(probs: Tensor, ids: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    n_experts, gates = probs.shape[-1], probs.gather(1, ids)
    by_gate = torch.zeros(n_experts).index_add(0, ids.flatten(), gates.flatten())
    return (
        (
            balance(probs, ids[:, :1]),
            Why(
                "Only the first choice of each token was counted, and all k choices make work.",
                "Count the whole of `expert_ids`.",
            ),
        ),
        (
            n_experts * (by_gate / by_gate.sum() * probs.mean(dim=0)).sum(),
            Why(
                "The load was weighed by the gates. A choice is one row of work, whatever its "
                "gate.",
                "Count the choices.",
            ),
        ),
        (
            n_experts * _load(ids, n_experts).square().sum(),
            Why(
                "The load was multiplied with itself, and so nothing depends on the probabilities.",
                "One of the two factors is the mean probability.",
            ),
        ),
    )


def _slips_of_the_means(probs: Tensor, ids: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    n_experts = probs.shape[-1]
    return (
        (
            n_experts * probs.mean(dim=0).square().sum(),
            Why(
                "Mean probability was multiplied with itself. A router can be undecided in every "
                "token and still send all to one.",
                "The load is what was *chosen*: count `expert_ids`.",
            ),
        ),
        (
            balance(probs.softmax(dim=-1), ids),
            Why(
                "The probabilities went through a second softmax, which makes them all alike.",
                "`probs` is a softmax already: use it as it is.",
            ),
        ),
        (
            n_experts * (_met(ids, n_experts) * probs).sum(dim=-1).mean(),
            Why(
                "Choices and probabilities met token by token, before the means were taken.",
                "Average both over the tokens first, then multiply.",
            ),
        ),
    )


def _met(ids: Tensor, n_experts: int) -> Tensor:
    """The share of each token's own choices that fell on each expert: (T, E)."""
    return torch.nn.functional.one_hot(ids, n_experts).float().mean(dim=1)


def _load(ids: Tensor, n_experts: int) -> Tensor:
    return _met(ids, n_experts).mean(dim=0)


@EXERCISE.stage("gradient")
def _balance_gradient(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        given = {
            "probs": random_probs(n_tokens, n_experts, seed),
            "expert_ids": random_ids(n_tokens, n_experts, top_k, seed),
        }
        require_gradients(answer, balance, given, seed=seed)
