"""What can be done with a layer of the reader's own: train it, and look who goes where."""

import torch
from torch import Tensor, nn

from moe_teach.data.kinds import N_ANSWERS, four_kinds, kind_of


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
