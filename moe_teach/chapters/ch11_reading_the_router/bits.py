"""Bits that experts tell of labels: the definition, and the ways in which it is missed."""

import math

import torch
from torch import Tensor

BASES = {"nats": math.e, "base 10": 10.0}


def information(
    expert_ids: Tensor, labels: Tensor, given: Tensor | None = None, slip: str = ""
) -> float:
    """Return I(expert; label | given) in bits, from counts; `slip` names what goes wrong.

    (T, K) choices, of which each counts 1 / K, and two (T,) columns of integers.
    """
    if slip == "difference":
        told = information(expert_ids, labels)
        return told - information(expert_ids, labels, given, "given alone")
    top_k = expert_ids.shape[1]
    columns = _columns(
        expert_ids, labels, torch.zeros_like(labels) if given is None else given, slip
    )
    sizes = [int(column.max()) + 1 for column in columns]
    g, e, y = columns
    cells = (g * sizes[1] + e) * sizes[2] + y
    counts = torch.bincount(cells, minlength=math.prod(sizes)).view(sizes).double()
    if slip == "smoothed":
        counts = counts + 1
    if slip == "unweighted":  # every group of `given` counts the same
        seen = counts[counts.sum(dim=(1, 2)) > 0]
        counts = seen / seen.sum(dim=(1, 2), keepdim=True)
    joint = counts / (counts.sum() / (top_k if slip == "choices" else 1))
    bits = _summed(joint, slip)
    return bits / top_k if slip == "over K" else bits


def _columns(
    expert_ids: Tensor, labels: Tensor, given: Tensor, slip: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Write a row for every choice: what is given, the expert, the label."""
    expert_ids, labels, given = expert_ids.long(), labels.long(), given.long()
    nothing = torch.zeros_like(labels)
    if slip == "first choice":
        expert_ids = expert_ids[:, :1]
    elif slip == "sets":
        places = (int(expert_ids.max()) + 1) ** torch.arange(expert_ids.shape[1])
        expert_ids = (expert_ids.sort(dim=1).values * places).sum(dim=1, keepdim=True)
    elif slip == "nothing given":
        given = nothing
    elif slip == "swapped":
        labels, given = given, labels
    elif slip == "given alone":
        expert_ids, given = given[:, None], nothing
    elif slip == "both":
        expert_ids, given = expert_ids * (int(given.max()) + 1) + given[:, None], nothing
    top_k = expert_ids.shape[1]
    if slip == "in blocks":
        return given.repeat(top_k), expert_ids.flatten(), labels.repeat(top_k)
    return given.repeat_interleave(top_k), expert_ids.flatten(), labels.repeat_interleave(top_k)


def _summed(joint: Tensor, slip: str) -> float:
    """Sum p(g, e, y) times the logarithm of p(g, e, y) p(g) / p(g, e) p(g, y)."""
    expert, label = joint.sum(dim=2, keepdim=True), joint.sum(dim=1, keepdim=True)
    seen = joint > 0
    known = torch.ones(1) if slip == "without p(g)" else joint.sum(dim=(1, 2), keepdim=True)
    ratio = (joint * known)[seen] / (expert * label)[seen]
    weights = torch.full_like(ratio, 1 / len(ratio)) if slip == "mean" else joint[seen]
    bits = float((weights * ratio.log2()).sum())
    return -bits if slip == "sign" else bits * math.log(2) / math.log(BASES.get(slip, 2))
