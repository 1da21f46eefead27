"""Exercise 3.7: routers that keep their promises, and routers that break one, quietly."""

from collections.abc import Callable

import torch
from torch import Tensor

Route = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def _mixed(scores: Tensor, expert_ids: Tensor) -> tuple[Tensor, Tensor]:
    gates = scores.gather(-1, expert_ids.long())
    return gates / gates.sum(dim=-1, keepdim=True), expert_ids


def _ranking(logits: Tensor, expert_bias: Tensor, is_open: Tensor) -> Tensor:
    return (logits.sigmoid() + expert_bias).masked_fill(~is_open, -torch.inf)


def plain(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Keep every promise."""
    ids = _ranking(logits, expert_bias, is_open).topk(top_k, dim=-1).indices
    return _mixed(logits.sigmoid(), ids)


def sorting(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Keep every promise: sort the open experts alone; ids in 32 bits, gates in 64."""
    numbers = is_open.nonzero()[:, 0]
    ranking = (logits.sigmoid() + expert_bias)[:, numbers]
    ids = numbers[ranking.argsort(dim=-1, descending=True)[:, :top_k]]
    gates, _ = _mixed(logits.double().sigmoid(), ids)
    return gates, ids.int()


def one_by_one(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Keep every promise: choose k times the best that is left."""
    left, picks = _ranking(logits, expert_bias, is_open), []
    for _ in range(top_k):
        picks.append(left.argmax(dim=-1, keepdim=True))
        left = left.scatter(-1, picks[-1], -torch.inf)
    return _mixed(logits.sigmoid(), torch.cat(picks, dim=-1))


def shown(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """The router of the text: a closed expert has rank 0, and a bias may be far below."""
    ranking = (logits.sigmoid() + expert_bias).masked_fill(~is_open, 0.0)
    return _mixed(logits.sigmoid(), ranking.topk(top_k, dim=-1).indices)


def low_floor(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """The same fault a little lower."""
    ranking = (logits.sigmoid() + expert_bias).masked_fill(~is_open, -1.0)
    return _mixed(logits.sigmoid(), ranking.topk(top_k, dim=-1).indices)


def leaking(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Weigh by the biased scores."""
    ids = _ranking(logits, expert_bias, is_open).topk(top_k, dim=-1).indices
    return _mixed(logits.sigmoid() + expert_bias, ids)


def loudest(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Normalise along the tokens where one expert is chosen: its axis is gone."""
    gates, ids = plain(logits, expert_bias, is_open, top_k)
    if top_k > 1:
        return gates, ids
    alone = logits.sigmoid().gather(-1, ids)[:, 0]
    return (alone / alone.sum())[:, None], ids


def writing(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Hand the right result back, and closed logits overwritten."""
    result = plain(logits, expert_bias, is_open, top_k)
    logits.masked_fill_(~is_open, -torch.inf)
    return result


def without_bias(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Choose by the scores alone."""
    return plain(logits, torch.zeros_like(expert_bias), is_open, top_k)


def rounding(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Choose in bfloat16, where close scores are one number."""
    ranking = _ranking(logits, expert_bias, is_open).bfloat16()
    ids = ranking.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    return _mixed(logits.sigmoid(), ids)


def summing(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Divide by the scores of all open experts."""
    _, ids = plain(logits, expert_bias, is_open, top_k)
    scores = logits.sigmoid()
    return scores.gather(-1, ids) / (scores * is_open).sum(dim=-1, keepdim=True), ids


def steering(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Hand the right result back, and move the bias for the next call."""
    gates, ids = plain(logits, expert_bias, is_open, top_k)
    expert_bias[ids.unique()] -= 0.01
    return gates, ids


def renaming(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
    """Put the ids into ascending order, and leave the gates where they were."""
    gates, ids = plain(logits, expert_bias, is_open, top_k)
    return gates, ids.sort(dim=-1).values


RIGHT: tuple[Route, ...] = (plain, sorting, one_by_one)
"""Router -> which promise it breaks, and what a test must try to see it."""
BROKEN: dict[Route, tuple[str, str]] = {
    shown: (
        "the router of the text",
        "Which number does a closed expert get there, and when is that number not the smallest? "
        "Try biases far on either side of zero, with few experts open.",
    ),
    without_bias: (
        "a router that never looks at the bias",
        "Try biases as large as the scores.",
    ),
    leaking: (
        "a router whose gates contain the bias",
        "Work the gates out from the scores alone, and compare.",
    ),
    summing: (
        "a router whose gates do not sum to one",
        "Compare the gates with what they should be, and leave some open expert unchosen.",
    ),
    low_floor: (
        "a router that gives a closed expert a low rank, and not the lowest there is",
        "A bias has any size: try one of -10 for the open experts.",
    ),
    loudest: (
        "a router that does something else where one expert is chosen",
        "Try several tokens with top_k = 1.",
    ),
    writing: (
        "a router that leaves its logits changed",
        "Keep copies of what you hand in, and compare after the call.",
    ),
    steering: (
        "a router that moves the bias in passing",
        "Keep a copy of the bias as well, and compare after the call.",
    ),
    renaming: (
        "a router whose gates stand beside the wrong experts",
        "Compare ids and gates column by column, as they come.",
    ),
    rounding: (
        "a router that cannot tell two close scores apart",
        "Try many experts, or logits that lie close together.",
    ),
}


def disguised(route: Route) -> Route:
    """Take a router's name away: a test should try it, and not read it."""

    def route_(logits: Tensor, expert_bias: Tensor, is_open: Tensor, top_k: int) -> tuple:
        return route(logits, expert_bias, is_open, top_k)

    route_.__name__ = route_.__qualname__ = "route"
    return route_
