"""Exercise 7.8: routers that were published with a fault, in a few lines each, and right ones."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import chosen, route
from moe_teach.judging.reasons import Why

Sizes = tuple[int, int, int]  # top_k, n_groups, top_groups
Router = Callable[[Tensor, Tensor, int, int, int, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Faulty:
    """A router with a fault: what to say to who did not find an input that shows it."""

    route: Router
    why: Why


def lean_route(
    logits: Tensor, expert_bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """DeepSeek-V3's rule, without a second tensor of scores."""
    size = logits.shape[1] // n_groups
    ranking = torch.sigmoid(logits.float()) + expert_bias
    worth = ranking.reshape(-1, n_groups, size).topk(2)[0].sum(2)
    groups = worth.topk(top_groups)[1]
    members = (groups[:, :, None] * size + torch.arange(size)).flatten(1)
    values, places = ranking.gather(1, members).topk(top_k)
    expert_ids = members.gather(1, places)
    gates = values - expert_bias[expert_ids]
    return scale * gates / gates.sum(1, keepdim=True), expert_ids


def _weighed(scores: Tensor, ids: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    gates = scores.gather(-1, ids)
    return scale * gates / gates.sum(dim=-1, keepdim=True), ids


def _closes_with_zero(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    scores = logits.sigmoid()
    ids = chosen(scores + bias, top_k, n_groups, top_groups, closed=0.0)
    return _weighed(scores, ids, scale)


def _weighs_with_the_bias(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    ranking = logits.sigmoid() + bias
    return _weighed(ranking, chosen(ranking, top_k, n_groups, top_groups), scale)


def _rounds_the_bias(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    return route(logits, bias.bfloat16().float(), top_k, n_groups, top_groups, scale)


def _ranks_groups_by_their_best(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    scores = logits.sigmoid()
    best_alone = {"worth": lambda members: members.amax(dim=-1)}
    ids = chosen(scores + bias, top_k, n_groups, top_groups, **best_alone)
    return _weighed(scores, ids, scale)


def _loses_the_factor(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    return route(logits, bias, top_k, n_groups, top_groups, 1.0)


def _starts_its_maximum_at_minus_one(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    scores, ids = logits.sigmoid(), []
    right = route(logits, bias, top_k, n_groups, top_groups, scale)[1]
    for place in right.T:  # the best, the second best, ...
        values = (scores + bias).gather(-1, place[:, None])[:, 0]
        ids.append(torch.where(values > -1, place, 0))
    return _weighed(scores, torch.stack(ids, dim=-1), scale)


_FAR = "Your inputs do not reach the numbers on which it fails. "
GALLERY = (
    Faulty(
        _weighs_with_the_bias,
        Why("The bias leaks into its gates.", "Try biases that differ by some tenths."),
    ),
    Faulty(
        _loses_the_factor,
        Why("Its gates do not sum to the scale.", "Compare gates, and not experts alone."),
    ),
    Faulty(
        _ranks_groups_by_their_best,
        Why(
            "It opens the groups with the best expert, not with the best two.",
            "Try more tokens: with many of them some group has one good expert and a bad second.",
        ),
    ),
    Faulty(
        _closes_with_zero,
        Why(
            _FAR + "Closed groups have rankings of 0 there.",
            "Try biases that are all negative, around -3.",
        ),
    ),
    Faulty(
        _starts_its_maximum_at_minus_one,
        Why(
            _FAR + "Rankings below -1 do not exist for it.",
            "Try biases that are all far below -2.",
        ),
    ),
    Faulty(
        _rounds_the_bias,
        Why(
            _FAR + "It keeps the bias in bfloat16, which has eight significant bits.",
            "Try biases around 7 that differ by some tenths, and many tokens.",
        ),
    ),
)


def _in_float64(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    return exact(logits, bias, top_k, n_groups, top_groups, scale)


def exact(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The rule in float64."""
    scores = logits.double().sigmoid()
    ids = chosen(scores + bias.double(), top_k, n_groups, top_groups)
    return _weighed(scores, ids, scale)


def _by_number(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Give the experts of a token in the order of their numbers."""
    gates, ids = route(logits, bias, top_k, n_groups, top_groups, scale)
    ids, order = ids.sort(dim=-1)
    return gates.gather(-1, order), ids


def _in_log_space(
    logits: Tensor, bias: Tensor, top_k: int, n_groups: int, top_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    ids = route(logits, bias, top_k, n_groups, top_groups, scale)[1]
    return scale * torch.nn.functional.logsigmoid(logits).gather(-1, ids).softmax(-1), ids


RIGHT: tuple[Router, ...] = (route, _in_float64, _by_number, _in_log_space)
