"""Exercise 7.4: the choices that known mistakes lead to."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import best_two, chosen
from moe_teach.judging.reasons import Why


def _of_all_tokens(members: Tensor) -> Tensor:
    return best_two(members).mean(dim=0, keepdim=True).expand(len(members), -1)


def _slip(**how: Any) -> Callable[..., Tensor]:
    return lambda **call: chosen(**call, **how)


def _inside(scores: Tensor, top_k: int, n_groups: int, top_groups: int) -> Tensor:
    return chosen(scores, top_k, n_groups, top_groups) % (scores.shape[-1] // n_groups)


def _by_k(scores: Tensor, top_k: int, n_groups: int, top_groups: int) -> Tensor:
    def worth(members: Tensor) -> Tensor:
        return members.topk(min(top_k, members.shape[-1]), dim=-1).values.sum(dim=-1)

    return chosen(scores, top_k, n_groups, top_groups, worth=worth)


def _fewer(scores: Tensor, top_k: int, n_groups: int, top_groups: int) -> Tensor:
    open_groups = max(1, top_groups - 1)
    if open_groups * (scores.shape[-1] // n_groups) < top_k:
        return chosen(scores, top_k, n_groups, top_groups)
    return chosen(scores, top_k, n_groups, open_groups)


TEMPTING: tuple[tuple[Why, Callable[..., Tensor]], ...] = (
    (
        Why(
            "These are the k best of all experts: the limit to the best groups has no effect.",
            "Close all groups but the best before the top k.",
        ),
        lambda **call: call["scores"].topk(call["top_k"], dim=-1).indices,
    ),
    (
        Why(
            "These are positions inside a group.",
            "Return the numbers of the experts among all E.",
        ),
        _inside,
    ),
    (
        Why(
            "The groups are ranked by their best expert alone, which is the rule of DeepSeek-V2.",
            "In V3 a group is worth the sum of its *two* best.",
        ),
        _slip(worth=lambda members: members.amax(dim=-1)),
    ),
    (
        Why(
            "The groups are ranked by all of their experts. The others would not be chosen anyway.",
            "Only the two best count.",
        ),
        _slip(worth=lambda members: members.sum(dim=-1)),
    ),
    (
        Why(
            "Groups hold neighbours: with 6 experts in 3 groups these are 0 1, 2 3 and 4 5. Yours "
            "look like 0 3, 1 4, 2 5.",
            "Cut with `view(-1, n_groups, E // n_groups)`, not the other way round.",
        ),
        _slip(interleaved=True),
    ),
    (
        Why(
            "One choice of groups was made for all tokens together.",
            "Each token opens its own groups: work along dim=-1.",
        ),
        _slip(worth=_of_all_tokens),
    ),
    (
        Why("The groups that were opened are the worst ones.", "`topk` gives the largest first."),
        _slip(worth=lambda members: -best_two(members)),
    ),
    (
        Why(
            "The groups are ranked by as many experts as a token chooses.",
            "A group is worth its *two* best, whatever k is.",
        ),
        _by_k,
    ),
    (
        Why(
            "One group too few was opened.",
            "Open top_groups of them.",
        ),
        _fewer,
    ),
)
