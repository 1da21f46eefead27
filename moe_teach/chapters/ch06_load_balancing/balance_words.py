"""Exercise 6.1: what known mistakes give, and what to say to them."""

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.inputs import balance
from moe_teach.judging.reasons import Why

OTHER = Why(
    "One of the two vectors is another one: the load, or the mean probability.",
    "The loss is E times the sum over all experts of (share of the choices) times (mean "
    "probability over all tokens).",
)


def factors(n_tokens: int, n_experts: int, top_k: int) -> tuple[tuple[Tensor, Why], ...]:
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


def slips(probs: Tensor, ids: Tensor) -> tuple[tuple[Tensor, Why], ...]:
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


PADDING = {
    "none": Why(
        "What stands at a padded position means nothing: here it is not a number, and nan times 0 "
        "is nan.",
        "Take the rows of real tokens, `probs[real]`, instead of multiplying the others by 0.",
    ),
    "mean": Why(
        "The mean probability was divided by all T positions.",
        "Divide by the number of real tokens.",
    ),
    "load": Why("The choices of padded positions were counted.", "Count `expert_ids[real]` alone."),
    "both": Why(
        "Padded positions count in the load, and in what the mean is divided by.",
        "Take `probs[real]` and `expert_ids[real]`, and go on with them alone.",
    ),
    "other": Why(
        "Padded positions count somewhere.",
        "The result must be that of the real tokens alone, as if the others were not there.",
    ),
}
EARLIER = {
    "ignored": Why(
        "`earlier` changed nothing.", "Add it to the counts, before they become shares."
    ),
    "shares": Why(
        "Two loads were averaged. Micro-batches are of different size, so that a choice in a small "
        "one would weigh more.",
        "Add the counts, and divide by all choices together.",
    ),
    "sum": Why(
        "Two loads were added, so that they sum to 2.",
        "Add the counts, and divide by all choices together.",
    ),
    "only": Why(
        "The load is that of the earlier micro-batches alone.",
        "The choices of this one belong to it.",
    ),
    "other": Why(
        "The load is the share of all choices so far, of this micro-batch and those before; the "
        "mean probability is of this one alone.",
        "counts = earlier + counts of the real tokens; load = counts / counts.sum().",
    ),
}
