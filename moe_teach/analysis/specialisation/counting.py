"""Counts of choices by label, which the measures of specialisation are made of."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse


def choices_by_label(
    expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, " T"], n_experts: int, n_labels: int
) -> Int[Tensor, "labels E"]:
    """Count the choices of each expert, label by label; all of them sum to T * K."""
    _demand_labels(expert_ids, labels, n_experts, n_labels)
    cells = labels.long()[:, None] * n_experts + expert_ids.long()
    return torch.bincount(cells.flatten(), minlength=n_labels * n_experts).view(n_labels, n_experts)


def share_of_tokens(
    expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, " T"], n_experts: int, n_labels: int
) -> Float[Tensor, "labels E"]:
    """Return which share of a label's tokens has an expert among its K; rows sum to K.

    A label without tokens has no shares: its row is NaN.
    """
    counted = choices_by_label(expert_ids, labels, n_experts, n_labels)
    n_tokens = torch.bincount(labels.long(), minlength=n_labels)
    return counted.double() / n_tokens[:, None]


def _demand_labels(
    expert_ids: Int[Tensor, "T K"], labels: Int[Tensor, " T"], n_experts: int, n_labels: int
) -> None:
    """Refuse what cannot be counted: no tokens, other lengths, ids out of range."""
    refuse(not len(expert_ids), "There are no tokens, so there is nothing to measure.")
    refuse(
        len(expert_ids) != len(labels),
        f"Each token needs one label; there are {len(expert_ids)} tokens and {len(labels)} labels.",
    )
    for what, ids, end in (("expert ids", expert_ids, n_experts), ("labels", labels, n_labels)):
        low, high = (int(border) for border in ids.aminmax())
        refuse(
            low < 0 or high >= end,
            f"The {what} must lie between 0 and {end - 1}, but they reach from {low} to {high}.",
        )
