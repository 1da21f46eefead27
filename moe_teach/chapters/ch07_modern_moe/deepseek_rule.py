"""DeepSeek-V3's choice by groups and its routes: right, and wrong in the ways learners get them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
) -> Tensor:
    """Route by groups, right by default and wrong in the ways that the keywords name."""
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
    """The worth of a group in DeepSeek-V3: the sum of its two best."""
    return members.topk(min(2, members.shape[-1]), dim=-1).values.sum(dim=-1)


def route(
    logits: Tensor,
    expert_bias: Tensor,
    top_k: int,
    n_groups: int = 1,
    top_groups: int = 1,
    gate_scale: float = 2.5,
) -> tuple[Tensor, Tensor]:
    """Route by the whole rule."""
    scores = logits.float().sigmoid()
    ids = chosen((scores + expert_bias).detach(), top_k, n_groups, top_groups)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.sum(dim=-1, keepdim=True), ids


def choose(given: dict[str, Any], ranking: Tensor, **slip: Any) -> Tensor:
    """Choose with the sizes of a call."""
    return chosen(ranking, given["top_k"], given["n_groups"], given["top_groups"], **slip)


def tempting(given: dict[str, Any]) -> dict[str, Tensor]:
    """Give the choices that common slips lead to, by the sentence that names the slip."""
    logits, bias = given["logits"], given["expert_bias"]
    scores = logits.sigmoid()
    per_group = logits.shape[-1] // given["n_groups"]

    def groups_without_bias(members: Tensor) -> Tensor:
        plain = scores.unflatten(-1, (given["n_groups"], per_group))
        return plain.topk(min(2, per_group), dim=-1).values.sum(dim=-1)

    ranking = scores + bias
    return {
        "The choice is the one without any bias. Rank by sigmoid(logits) + expert_bias.": choose(
            given, scores
        ),
        "The bias was subtracted. It is added: balancing lowers it for busy experts.": choose(
            given, scores - bias
        ),
        "The bias went into the sigmoid. It is added to the scores, after it.": choose(
            given, (logits + bias).sigmoid()
        ),
        "The experts were scored by a softmax, against each other. Here each is scored alone: take "
        "the sigmoid.": choose(given, logits.softmax(dim=-1) + bias),
        "These are the k best of all experts, and the groups have no effect.": ranking.topk(
            given["top_k"], dim=-1
        ).indices,
        "The groups were ranked without the bias. The biased scores choose groups, too.": choose(
            given, ranking, worth=groups_without_bias
        ),
        "The groups are ranked by their best expert alone; a group is worth the sum of its two "
        "best.": choose(given, ranking, worth=lambda members: members.amax(dim=-1)),
        "Closed groups were set to zero, and with a negative bias a zero beats the open experts: "
        "use -torch.inf.": choose(given, ranking, closed=0.0),
    }
