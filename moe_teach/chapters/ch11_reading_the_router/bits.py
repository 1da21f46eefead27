"""Bits that experts tell of labels: the definition, and the ways in which it is missed."""

import math

import torch
from torch import Tensor


def information(
    expert_ids: Tensor, labels: Tensor, given: Tensor | None = None, slip: str = ""
) -> float:
    """Return I(expert; label | given) in bits, from counts; `slip` names what goes wrong.

    (T, K) choices, of which each counts 1 / K, and two (T,) columns of integers.
    """
    if slip == "first choice":
        expert_ids = expert_ids[:, :1]
    if given is None or slip == "nothing given":
        given = torch.zeros_like(labels)
    if slip == "swapped":
        labels, given = given, labels
    top_k = expert_ids.shape[1]
    columns = (
        given.repeat_interleave(top_k),
        expert_ids.flatten(),
        labels.repeat_interleave(top_k),
    )
    sizes = [int(column.max()) + 1 for column in columns]
    counts = torch.zeros(sizes, dtype=torch.float64)
    counts.index_put_(
        tuple(column.long() for column in columns),
        torch.ones(len(columns[0]), dtype=torch.float64),
        accumulate=True,
    )
    if slip == "unweighted":  # every group of `given` counts the same
        seen = counts[counts.sum(dim=(1, 2)) > 0]
        counts = seen / seen.sum(dim=(1, 2), keepdim=True)
    joint = counts / (counts.sum() / (top_k if slip == "choices" else 1))
    return _summed(joint, slip)


def _summed(joint: Tensor, slip: str) -> float:
    """Sum p(g, e, y) times the logarithm of p(g, e, y) p(g) / p(g, e) p(g, y)."""
    expert, label = joint.sum(dim=2, keepdim=True), joint.sum(dim=1, keepdim=True)
    seen = joint > 0
    ratio = (joint * joint.sum(dim=(1, 2), keepdim=True))[seen] / (expert * label)[seen]
    weights = torch.full_like(ratio, 1 / len(ratio)) if slip == "mean" else joint[seen]
    bits = float((weights * ratio.log2()).sum())
    return bits * math.log(2) if slip == "nats" else -bits if slip == "sign" else bits
