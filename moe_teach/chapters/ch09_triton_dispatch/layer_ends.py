"""Exercise 9.7: the end of a layer, its inputs, its definition, and the least it can cost."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch09_triton_dispatch.mixtures import routed
from moe_teach.chapters.ch09_triton_dispatch.sectors import SECTOR, sectors_of
from moe_teach.judging.exercise import generator

EPSILON = 1e-6


def layer_end(sizes: tuple[int, int, int], seed: int) -> dict[str, Tensor]:
    """Draw what arrives at the end of a layer, for tokens, columns and choices, and its outputs.

    The first token has lost all its choices, and others some of them. It is so small that the
    epsilon of its norm counts.
    """
    y, gates, slot = routed(sizes, seed, 0.8)
    slot[0] = -1
    n_tokens, d_model, _ = sizes
    random = generator(seed + 100)
    x = torch.randn(n_tokens, d_model, generator=random)
    x[0] *= EPSILON**0.5
    return {
        "y": y.float(),
        "gates": gates,
        "slot": slot,
        "x": x,
        "weight": torch.rand(d_model, generator=random) + 0.5,
        "out": torch.full((n_tokens, d_model), torch.nan),
        "normed": torch.full((n_tokens, d_model), torch.nan),
    }


def by_definition(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Give the layer's output and its RMS norm, in float64."""
    y, gates, slot, x, weight = (given[n].double() for n in ("y", "gates", "slot", "x", "weight"))
    out = x.clone()
    for t, k in (slot >= 0).nonzero().tolist():
        out[t] += gates[t, k] * y[int(slot[t, k])]
    size = (out.square().mean(dim=1, keepdim=True) + EPSILON).sqrt()
    return out, out / size * weight


def least_sectors(given: dict[str, Any], outputs: dict[str, Tensor]) -> int:
    """Count the sectors if each number that is needed is loaded once, and each result stored once.

    Rows are whole sectors; of `y` only those count that some slot names.
    """
    whole = [given[name] for name in ("gates", "slot", "x", "weight")]
    row_bytes = given["y"].shape[1] * given["y"].element_size()
    named = int((given["slot"] >= 0).sum())
    return sectors_of([*whole, *outputs.values()]) + named * row_bytes // SECTOR
