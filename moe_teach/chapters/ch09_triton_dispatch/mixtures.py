"""Exercise 9.5: answers to be mixed, their mixtures, and those of known mistakes."""

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator
from moe_teach.judging.reasons import Why

OTHER = Why(
    "Slot, gate and answer may not belong together.",
    "Choice k of token t: slot and gate at t · TOP_K + k, answer in row `slot` of y.",
)


def routed(sizes: tuple[int, ...], seed: int, share_kept: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw answers, gates and slots for tokens, columns and choices; some choices are lost."""
    n_tokens, d_model, top_k = sizes[:3]
    random = generator(seed)
    kept = torch.rand(n_tokens, top_k, generator=random) < share_kept
    n_rows = int(kept.sum())
    slot = torch.full((n_tokens, top_k), -1, dtype=torch.int32)
    slot[kept] = torch.randperm(n_rows, generator=random).to(torch.int32)
    gates = torch.rand(n_tokens, top_k, generator=random) + 0.2
    gates = gates / gates.sum(dim=1, keepdim=True)
    y = torch.randn(n_rows, d_model, generator=random).to(torch.float16)
    return y, gates, slot


def mixture(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Mix by definition."""
    out = torch.zeros(len(gates), y.shape[1], dtype=torch.float64)
    for k in range(gates.shape[1]):
        kept = slot[:, k] >= 0
        out[kept] += gates[kept, k, None].double() * y[slot[kept, k]].double()
    return out.to(torch.float16)


def slips(y: Tensor, gates: Tensor, slot: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Give the mixtures of known mistakes."""
    n_tokens, top_k = gates.shape
    whole = Why("The mixture was divided by K.", "The gates have their sum already: only add.")
    first = Why("Only the first choice arrives.", "Let the loop run over all TOP_K choices.")
    turned = Why(
        "Gates or slots were read choice by choice.",
        "They stand token by token: those of token t begin at t * TOP_K.",
    )
    return (
        (mixture(y, gates / top_k, slot), whole),
        (mixture(y, gates * (torch.arange(top_k) == 0), slot), first),
        (mixture(y, gates.reshape(top_k, n_tokens).T, slot), turned),
        (mixture(y, gates, slot.reshape(top_k, n_tokens).T), turned),
    )
