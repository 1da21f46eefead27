"""Exercise 8.3: what is no difference, what is hard to see, and the words for both."""

from collections.abc import Callable

import torch
from torch import Tensor

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
