"""What can be done with a layer of the reader's own: tell the laws about it, and train it."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.data.kinds import N_ANSWERS, four_kinds, kind_of


def told_about(layer: nn.Module) -> dict[str, Any]:
    """Tell the laws what they cannot see from outside: `obeys(layer, **told_about(layer), ...)`.

    `layer` is a `MyMoE`: it has `router`, `w_gate`, `w_up`, `w_down`, `top_k` and `expert`.
    """

    def one_expert(number: int, rows: Tensor) -> Tensor:
        return layer.expert(rows, layer.w_gate[number], layer.w_up[number], layer.w_down[number])

    def with_top_k(top_k: int) -> nn.Module:
        twin = copy.deepcopy(layer)
        twin.top_k = top_k
        return twin

    return {
        "expert": one_expert,
        "with_top_k": with_top_k,
        "expert_rows": (layer.router.weight, layer.w_gate, layer.w_up, layer.w_down),
        "gate_sum": 1.0 if layer.normalize_gates else None,
    }


def learn_kinds(layer: nn.Module, seed: int, n_steps: int, lr: float = 0.02) -> list[float]:
    """Train a layer of width 8 on the four kinds of chapter 03, in place; give the losses.

    Loss 1.0 means "no better than a constant guess". The first two numbers of y are the answer.
    """
    x, target = four_kinds(seed, n_tokens=512)
    optimiser = torch.optim.Adam(layer.parameters(), lr=lr)
    losses = []
    for _ in range(n_steps):
        loss = (layer(x)[0][:, :N_ANSWERS] - target).square().mean() / target.var()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def kinds_by_expert(layer: nn.Module, seed: int) -> Tensor:
    """Count the choices of 2,000 fresh tokens: (4 kinds, E experts), each row a share of 1."""
    x, _ = four_kinds(1000 + seed, n_tokens=2000)
    routing = layer(x)[1]
    table = torch.zeros(4, routing.n_experts)
    for kind in range(4):
        chosen = routing.expert_ids[kind_of(x) == kind].flatten()
        table[kind] = torch.bincount(chosen, minlength=routing.n_experts) / chosen.numel()
    return table


def written_by(part: Any) -> str:
    """Say who wrote a part that `mine` gave: "you", or "the course"."""
    inner = getattr(part, "fn", part)  # a Triton kernel stands around a function
    return "you" if inner.__module__.startswith("mine.") else "the course"
