"""DeepSeek-V3's choice by groups and its routes: right, and wrong in the ways learners get them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.reasons import Why

Case = tuple[int, int, int, int, int]  # tokens, experts, top_k, n_groups, top_groups


def chosen(
    scores: Tensor,
    top_k: int,
    n_groups: int,
    top_groups: int,
    *,
    worth: Callable[[Tensor], Tensor] | None = None,
    closed: float = -torch.inf,
    interleaved: bool = False,
    alive: Tensor | None = None,
) -> Tensor:
    """Route by groups, right by default and wrong in the ways that the keywords name.

    `alive` (E,) says which experts are in service.
    """
    if alive is not None:
        scores = scores.masked_fill(~alive, -torch.inf)
    n_tokens, n_experts = scores.shape
    group = torch.arange(n_experts) // (n_experts // n_groups)
    if interleaved:
        group = torch.arange(n_experts) % n_groups
    members = torch.stack([scores[:, group == g] for g in range(n_groups)], dim=1)
    value = (worth or best_two)(members)
    best = value.topk(top_groups, dim=-1).indices
    is_open = torch.zeros(n_tokens, n_groups, dtype=torch.bool).scatter(-1, best, True)
    return scores.masked_fill(~is_open[:, group], closed).topk(top_k, dim=-1).indices


def best_two(members: Tensor) -> Tensor:
    """The worth of a group in DeepSeek-V3: the sum of its two best, of those in service."""
    best = members.topk(min(2, members.shape[-1]), dim=-1).values
    second = best[..., 1:]
    return best[..., 0] + second.masked_fill(second.isneginf(), 0.0).sum(dim=-1)


def route(
    logits: Tensor,
    expert_bias: Tensor,
    top_k: int,
    n_groups: int = 1,
    top_groups: int = 1,
    gate_scale: float = 2.5,
    alive: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Route by the whole rule."""
    scores = logits.float().sigmoid()
    ids = chosen((scores + expert_bias).detach(), top_k, n_groups, top_groups, alive=alive)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.sum(dim=-1, keepdim=True), ids


def choose(given: dict[str, Any], ranking: Tensor, **slip: Any) -> Tensor:
    """Choose with the sizes of a call."""
    return chosen(ranking, given["top_k"], given["n_groups"], given["top_groups"], **slip)


def tempting(given: dict[str, Any]) -> list[tuple[Tensor, Why]]:
    """Give the choices that common slips lead to, and what to say to them."""
    logits, bias = given["logits"], given["expert_bias"]
    scores = logits.sigmoid()
    per_group = logits.shape[-1] // given["n_groups"]

    def groups_without_bias(members: Tensor) -> Tensor:
        plain = scores.unflatten(-1, (given["n_groups"], per_group))
        return plain.topk(min(2, per_group), dim=-1).values.sum(dim=-1)

    def best_alone(members: Tensor) -> Tensor:
        return members.amax(dim=-1)

    ranking = scores + bias
    choices = {
        "no bias": choose(given, scores),
        "minus": choose(given, scores - bias),
        "inside": choose(given, (logits + bias).sigmoid()),
        "logits": choose(given, logits + bias),
        "softmax": choose(given, logits.softmax(dim=-1) + bias),
        "no groups": ranking.topk(given["top_k"], dim=-1).indices,
        "plain groups": choose(given, ranking, worth=groups_without_bias),
        "best alone": choose(given, ranking, worth=best_alone),
        "zero": choose(given, ranking, closed=0.0),
        "minus one": choose(given, ranking, closed=-1.0),
    }
    return [(choice, _WORDS[name]) for name, choice in choices.items()]


OTHER = Why(
    "Another ranking was used, or other groups were opened.",
    "The choice follows sigmoid(logits) + expert_bias inside the open groups.",
)
ORDER = Why("The right experts in another order.", "The best *biased* score comes first.")
FIXED = Why("A fixed number closes the groups, and a biased score is lower.", "Use -torch.inf.")
GATES = Why(
    "They were read from other scores, or divided by another sum.",
    "scores.gather(-1, expert_ids), divided by its own sum over dim=-1.",
)
_WORDS = {
    "no bias": Why(
        "The choice is the one without any bias.", "Rank by sigmoid(logits) + expert_bias."
    ),
    "minus": Why("The bias was subtracted.", "It is added: balancing lowers it for busy experts."),
    "inside": Why("The bias went into the sigmoid.", "It is added to the scores, after it."),
    "logits": Why(
        "The experts were ranked by their logits, without the sigmoid.",
        "The bias is added to the scores, between 0 and 1.",
    ),
    "softmax": Why(
        "The experts were scored by a softmax, against each other.",
        "Here each is scored alone: take the sigmoid.",
    ),
    "no groups": Why(
        "These are the k best of all experts, and the groups have no effect.",
        "Close all groups but the best before the top k.",
    ),
    "plain groups": Why(
        "The groups were ranked without the bias.", "The biased scores choose groups, too."
    ),
    "best alone": Why(
        "The groups are ranked by their best expert alone.",
        "A group is worth the sum of its two best.",
    ),
    "zero": Why(
        "Closed groups were set to zero, and with a negative bias a zero beats the open experts.",
        "Use -torch.inf.",
    ),
    "minus one": Why(
        "Closed groups were set to -1, and with a negative bias that beats the open experts.",
        "Use -torch.inf.",
    ),
}


def gate_slips(given: dict[str, Any], ids: Tensor) -> list[tuple[Tensor, Why]]:
    """Give the gates of known mistakes for a gate_scale of 1, and what to say to them."""
    scores = given["logits"].sigmoid()
    own, all_of_them = scores.gather(-1, ids), scores.sum(dim=-1, keepdim=True)
    expected = own / own.sum(dim=-1, keepdim=True)
    biased = (scores + given["expert_bias"]).gather(-1, ids)
    slips = {
        Why(
            "These are the scores as they come; with gate_scale=1 the gates of a token sum to one.",
            "Divide by the sum over the chosen experts.",
        ): own,
        Why(
            "The gates were divided by the sum over *all* experts.",
            "Divide by the sum over the chosen ones.",
        ): own / all_of_them,
        Why(
            "The gates of *all tokens together* sum to one.",
            "Divide within each row: `sum(dim=-1, keepdim=True)`.",
        ): own / own.sum(),
        Why(
            "A softmax came on top of the sigmoids.",
            "Divide by the sum, without an exponential.",
        ): own.softmax(dim=-1),
        Why(
            "These are a softmax over the chosen logits.",
            "Divide their sigmoids by the sum of these.",
        ): given["logits"].gather(-1, ids).softmax(dim=-1),
        Why("The bias leaked in.", "Read the gates from the unbiased scores."): biased
        / biased.sum(dim=-1, keepdim=True),
        Why("They were multiplied by a fixed scale.", "Use `gate_scale`, which is 1 here."): 2.5
        * expected,
    }
    return [(gates, why) for why, gates in slips.items()]
