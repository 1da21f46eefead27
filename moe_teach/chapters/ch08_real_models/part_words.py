"""Exercise 8.3: what is no difference, what is hard to see, and the words for both."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch08_real_models.records import NAMES
from moe_teach.judging.reasons import Why

SLACK = 1e-3
SAME = (
    (
        lambda part: -part.abs(),
        "Two models are the same, all their numbers are negative, and the report sees a "
        "difference.",
        Why("The largest number is not the largest size.", "slack * a.abs().max()"),
    ),
    (
        torch.Tensor.double,
        "Two models are the same, stored in float64, and the report sees a difference.",
        Why("A tensor was changed in place, or narrowed.", "Compute new tensors: a - b."),
    ),
)
ROUNDED = (
    (
        1e-9,
        "a thousand-millionth",
        Why("The numbers were compared to the last bit.", "Allow slack times the largest size."),
    ),
    (
        SLACK / 10,
        "a ten-thousandth",
        Why(
            "Small numbers were asked for the same share as large ones, or the limit has no size.",
            "The largest difference beside the largest size: slack * a.abs().max().",
        ),
    ),
)
Spoil = Callable[[Tensor], Tensor]


def _nan(part: Tensor) -> Tensor:
    spoilt = part.clone()
    spoilt.view(-1)[-1] = torch.nan
    return spoilt


def _one_token(part: Tensor) -> Tensor:
    spoilt = part.clone()
    spoilt[-1] += 0.003 * part.abs().max()
    return spoilt


EDGES: tuple[tuple[Spoil, str, Why], ...] = (
    (
        _nan,
        "One number of the other model is NaN, and the report did not find it.",
        Why(
            "Every comparison with NaN is False, `difference > limit` too.",
            "if not (difference <= limit): return layer, name",
        ),
    ),
    (
        _one_token,
        "Only the last token is off, by three times the limit, and the report did not find it.",
        Why(
            "A mean hides what one token shows.",
            "Compare the largest difference: (a - b).abs().max().",
        ),
    ),
    (
        lambda part: -part,
        "All signs are turned, and the report did not find it.",
        Why("Only sizes were compared.", "Subtract first, then take the size."),
    ),
)


def why_other_order(got: Any) -> Why:
    """Say why experts in another order were taken for a difference."""
    if got[1:2] != ("expert_ids",):
        return Why(
            "The experts were sorted, and what belongs to them was left where it was.",
            "Sort by argsort, and take gates and answers along in the same order.",
        )
    return Why(
        "ids, gates and answers were compared place by place.",
        "Sort the experts of each token by their number, and take gates and answers along.",
    )


def why_else(right: tuple[int, str], got: Any) -> Why:
    """Say why another layer or name was reported than the right one."""
    if got == ():
        return Why(
            f"A difference in `{right[1]}` went unnoticed.",
            "Compare all six names, and the whole tensors.",
        )
    if got[0] > right[0]:
        return Why(
            "A later layer was reported.", "Return at the first difference; do not look for the "
            "largest."
        )  # fmt: skip
    if got[0] == right[0]:
        return Why(
            f"Within a layer the names have an order: {', '.join(NAMES)}. What comes after the "
            "first difference differs because of it.",
            "Go through the names in this order, and return at the first that differs.",
        )
    return Why("A layer before the first difference was reported.", "Layers count from 0.")
