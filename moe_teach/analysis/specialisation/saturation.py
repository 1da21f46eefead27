"""How early in training a router has settled.

As OLMoE defines it (arXiv 2409.02060, section 5): the router saturation at time t is the mean over
tokens of |chosen(t) and chosen(end)| / K, the share of the final choices that were made already.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.analysis.specialisation.nulls import Null, permutation_null
from moe_teach.config import refuse


def saturation(earlier: Int[Tensor, "T K"], final: Int[Tensor, "T K"]) -> float:
    """Return which share of the final choices the earlier model made, for the same tokens.

    Raises:
        ValueError: there are no tokens, or the two are not of one shape.
    """
    refuse(
        earlier.shape != final.shape or not len(final),
        f"Saturation compares choices for the same tokens, at least one; these are "
        f"{tuple(earlier.shape)} and {tuple(final.shape)}.",
    )
    return float(overlap(earlier, final).double().mean()) / final.shape[1]


def overlap(these: Int[Tensor, "... K"], those: Int[Tensor, "... K"]) -> Int[Tensor, "..."]:
    """Count the experts that two sets of K different ones share."""
    return (these[..., :, None] == those[..., None, :]).sum((-1, -2))


def saturation_null(
    earlier: Int[Tensor, "T K"], final: Int[Tensor, "T K"], *, n: int = 200, seed: int = 0
) -> Null:
    """Return the saturation beside that of tokens compared with each other's final choices.

    Evenly used experts would agree on K / E by chance; skewed loads agree on more.
    """
    tokens = torch.arange(len(final))
    return permutation_null(lambda order: saturation(earlier, final[order]), tokens, n=n, seed=seed)
