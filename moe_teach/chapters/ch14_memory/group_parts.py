"""Exercise 14.1: groups and scales as they should be, and what wrong ones most likely come from."""

from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from moe_teach.judging.reasons import Why

OTHER = Why(
    "Another maximum, or another divisor.",
    "Largest absolute weight of the group over 2 ** (bits - 1) - 1.",
)


def cut(weights: Tensor, group_size: int) -> Tensor:
    """Give (R, groups, group_size); zeros fill the last group up."""
    missing = -weights.shape[1] % group_size
    return pad(weights.float(), (0, missing)).view(len(weights), -1, group_size)


def scales_of(weights: Tensor, bits: int, group_size: int) -> Tensor:
    """Give the scales as they are stored, (R, groups) in float16."""
    return (cut(weights, group_size).abs().amax(-1) / (2 ** (bits - 1) - 1)).half()


def why_scales(scales: Tensor, given: dict[str, Any]) -> Why:
    """Say which step was another one, by the scales it gives."""
    top = 2 ** (given["bits"] - 1) - 1
    groups = cut(given["weights"], given["group_size"])
    largest = groups.abs().amax(-1)
    slips = (
        (groups.amax(-1) / top, "Without their signs: -3 is larger than 2.",
         "Take `abs()` before the maximum."),
        (largest / (top + 1), f"The largest code is {top}, not {top + 1}: codes are symmetric.",
         "Divide by 2 ** (bits - 1) - 1."),
        (largest / 2 ** given["bits"], "One of the bits is the sign.",
         "Divide by 2 ** (bits - 1) - 1."),
        (largest.amax(-1, keepdim=True).expand_as(largest) / top,
         "Every group of a row has the same scale, that of the row's largest weight.",
         "Take the maximum over the last axis of (rows, groups, group_size) only."),
        (largest, "This is the largest weight, not yet a scale.",
         "Divide by the largest code, 2 ** (bits - 1) - 1."),
        (top / largest, "This is the inverse of the scale: a code times its scale must give the "
         "weight back.", "Divide the largest weight by the largest code."),
    )  # fmt: skip
    for wrong, cause, cure in slips:
        if bool((scales - wrong).abs().le(2e-3 * wrong.abs()).all()):
            return Why(cause, cure)
    return OTHER


def why_codes(codes: Tensor, exact: Tensor, given: dict[str, Any], top: int) -> Why:
    """Say which step was another one, by the codes it gives."""
    groups = cut(given["weights"], given["group_size"])
    unrounded = (groups.abs().amax(-1, keepdim=True) / top).expand_as(groups)
    unrounded = unrounded.reshape(len(groups), -1)[:, : codes.shape[1]]
    if bool((codes == (given["weights"].float() / unrounded).round()).all()):
        return Why(
            "The codes were made with the scale before it was rounded to float16. Whoever reads "
            "them has the rounded one.",
            "Round the scale first, and divide by it as it is stored: `scales.float()`.",
        )
    if bool((codes == exact.trunc()).all()) or bool((codes == exact.floor()).all()):
        return Why(
            "They were cut off, not rounded: a conversion to integers drops what follows the "
            "point.",
            "`.round()` before `.to(torch.int8)`.",
        )
    return Why(
        "Each weight divided by the stored scale of its own group, rounded.",
        "`repeat_interleave`, or a view as (rows, groups, group_size), brings scale and weight "
        "together.",
    )
