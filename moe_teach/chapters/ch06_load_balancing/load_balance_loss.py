"""Chapter 06, exercise 6.1: the loss that makes busy experts dear, for batches as they come."""

import math
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.balance_words import (
    EARLIER,
    OTHER,
    PADDING,
    factors,
    slips,
)
from moe_teach.chapters.ch06_load_balancing.inputs import (
    balance,
    call_with_idle_experts,
    even_ids,
    one_number,
    random_ids,
    random_probs,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import likely

EXERCISE = Exercise(
    id="6.1",
    name="load_balance_loss",
    title="The balancing loss of real batches",
    version=2,
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Two vectors with one entry per expert, multiplied and summed. For each of them ask: over "
        "which positions, and over which micro-batches, is it taken? They differ.",
        "Take the rows of real tokens first, `probs[real]` and `expert_ids[real]`, and forget the "
        "others. Counts may be added over micro-batches, shares may not. And what is divided by "
        "may be 0.",
        "counts = bincount(expert_ids[real].flatten(), minlength=E), plus `earlier` if there is "
        "one, as a new tensor; load = counts / counts.sum().clamp_min(1); mean = "
        "probs[real].sum(0) / real.sum().clamp_min(1); return E * (load * mean).sum()",
    ),
    explanation="The count has no gradient, so the load works as a fixed price for each expert, "
    "and a price may come from anywhere: from earlier micro-batches, or from other machines. The "
    "mean probability carries the gradient and can only come from here. Balance inside every small "
    "batch is a harder demand than balance over all of them; Qwen's study (Qiu et al. 2025, arXiv "
    "2501.11873) measures what the difference does. Padding is no token: counted, it pays for "
    "experts who serve nobody. And dividing by T * K and not by T makes even routing cost 1 for "
    "every k; published code differs here, so a coefficient only has a meaning beside its formula.",
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
        known = (*factors(n_tokens, n_experts, top_k), *slips(probs, ids))
        require(
            abs(float(got) - 1) < 1e-4,
            "All experts are equally busy here, so the loss must be 1 for any probabilities.",
            **likely(got, one, known, OTHER),
            expected=1.0,
            got=got,
            example=example,
        )


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
            **likely(got, expected, slips(probs, ids), OTHER),
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("gradient")
def _balance_gradient(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        given = {
            "probs": random_probs(n_tokens, n_experts, seed),
            "expert_ids": random_ids(n_tokens, n_experts, top_k, seed),
        }
        require_gradients(answer, balance, given, seed=seed)


def _padded(n_tokens: int, n_experts: int, top_k: int, seed: int) -> dict[str, Any]:
    """Make a batch in which about every third position is padding: its probabilities are none."""
    probs = random_probs(n_tokens, n_experts, seed)
    real = torch.rand(n_tokens, generator=generator(seed)) > 0.35
    real[0] = n_tokens < 2 or not bool(real[1:].all())  # at least one position is padding
    real[-1] = True
    probs[~real] = math.nan
    ids = random_ids(n_tokens, n_experts, top_k, seed)
    ids[~real] = n_experts - 1
    return {"probs": probs, "expert_ids": ids, "real": real}


def right(
    probs: Tensor, expert_ids: Tensor, real: Tensor | None = None, earlier: Tensor | None = None
) -> Tensor:
    """Give the loss as the text asks for it."""
    real = torch.ones(len(probs), dtype=torch.bool) if real is None else real
    counts = torch.bincount(expert_ids[real].flatten(), minlength=probs.shape[-1])
    counts = counts if earlier is None else counts + earlier
    mean = probs[real].sum(dim=0) / real.sum().clamp_min(1)
    return probs.shape[-1] * (counts / counts.sum().clamp_min(1) * mean).sum()


@EXERCISE.stage("padding")
def _balance_padding(answer: Any, seed: int) -> None:
    for sizes in SIZES[1:]:
        example = _padded(*sizes, seed)
        probs, ids, real = example.values()
        got, expected = one_number(answer(**example), example), right(**example)
        share = real.sum() / len(real)
        clean = probs.nan_to_num(0)
        require(
            not bool(got.isnan()),
            "Some positions are padding, and what comes out is not a number.",
            **PADDING["none"]._asdict(),
            expected=expected,
            got=got,
            example=example,
        )
        known = (
            (balance(probs[real], ids[real]) * share, PADDING["mean"]),
            (balance(clean, ids) / share, PADDING["load"]),
            (balance(clean, ids), PADDING["both"]),
        )
        require(
            close(got, expected),
            "Where some positions are padding, another number comes out than for the real tokens "
            "alone.",
            **likely(got, expected, known, PADDING["other"]),
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("padding alone")
def _balance_nobody(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES[:3]:
        probs = random_probs(n_tokens, n_experts, seed)
        ids = random_ids(n_tokens, n_experts, top_k, seed)
        example = {"probs": probs, "expert_ids": ids, "real": torch.zeros(n_tokens).bool()}
        got = one_number(answer(**example), example)
        require(
            float(got) == 0,
            "A batch of padding alone must cost 0.",
            cause="Something was divided by the number of real tokens, and there is none.",
            cure="`.clamp_min(1)` under the fraction: nothing over one is 0.",
            expected=0.0,
            got=got,
            example=example,
        )


@EXERCISE.stage("earlier choices")
def _balance_earlier(answer: Any, seed: int) -> None:
    for sizes in SIZES[1:]:
        n_experts = sizes[1]
        past = torch.randint(0, 50, (n_experts,), generator=generator(seed))
        example = {**_padded(*sizes, seed), "earlier": past}
        got, expected = one_number(answer(**example), example), right(**example)
        alone = right(**{**example, "earlier": None})
        own = example["probs"][example["real"]]
        of_past = n_experts * (past / past.sum() * own.mean(dim=0)).sum()
        known = (
            (alone, EARLIER["ignored"]),
            ((alone + of_past) / 2, EARLIER["shares"]),
            (alone + of_past, EARLIER["sum"]),
            (of_past, EARLIER["only"]),
        )
        require(
            close(got, expected),
            "With choices of earlier micro-batches the load is another one, and this is not it.",
            **likely(got, expected, known, EARLIER["other"]),
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("gradient of real batches")
def _balance_all_gradients(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        given = {
            "probs": random_probs(n_tokens, n_experts, seed),
            "expert_ids": random_ids(n_tokens, n_experts, top_k, seed),
            "real": torch.arange(n_tokens) % 3 != 1,
            "earlier": torch.randint(0, 50, (n_experts,), generator=generator(seed)),
        }
        require_gradients(answer, right, given, seed=seed)
