"""What patients are put through: hand-made routings, and a small task that tempts a router.

All of it depends on a seed and nothing else.
"""

import math

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.clinic.set_up import D_MODEL, N_EXPERTS
from moe_teach.types import Routing

KS = (1, 2, 4)
_PER_EXPERT = 4  # tokens per expert in a hand-made routing


def even(top_k: int) -> Routing:
    """Route so that everybody is chosen equally often and every probability is 1 / E."""
    n_tokens = _PER_EXPERT * N_EXPERTS
    ids = (torch.arange(n_tokens)[:, None] + torch.arange(top_k)) % N_EXPERTS
    return _routing(torch.full((n_tokens, N_EXPERTS), 1 / N_EXPERTS), ids)


def crowd() -> Routing:
    """Route every token to experts 0 and 1, and let the router be sure of it."""
    n_tokens = _PER_EXPERT * N_EXPERTS
    probs = torch.full((n_tokens, N_EXPERTS), 0.1 / (N_EXPERTS - 2))
    probs[:, :2] = 0.45
    return _routing(probs, torch.tensor([[0, 1]]).expand(n_tokens, -1))


def crowded_second() -> Routing:
    """Route first choices evenly over experts 0 to 6, and every second choice to expert 7."""
    last = N_EXPERTS - 1
    n_tokens = _PER_EXPERT * last
    first = torch.arange(n_tokens) % last
    ids = torch.stack([first, torch.full_like(first, last)], dim=1)
    probs = torch.full((n_tokens, N_EXPERTS), 0.1 / (N_EXPERTS - 2))
    return _routing(probs.scatter(1, ids, torch.tensor([[0.5, 0.4]]).expand(n_tokens, -1)), ids)


def _routing(probs: Tensor, expert_ids: Tensor) -> Routing:
    gates = probs.gather(-1, expert_ids)
    return Routing(probs.log(), probs, gates / gates.sum(dim=-1, keepdim=True), expert_ids)


def tokens(seed: int, n_tokens: int) -> Tensor:
    """Draw tokens (T, D) that all lean to one side, so that a new router has favourites.

    Real hidden states lean too: a network has directions that most tokens share.
    """
    random = torch.Generator().manual_seed(seed)
    lean = torch.randn(D_MODEL, generator=random)
    lean = lean * math.sqrt(D_MODEL) / lean.norm()
    return torch.randn(n_tokens, D_MODEL, generator=random) + lean


def task(seed: int, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Give tokens and targets (T, D) for a layer with its residual: each kind has its own map."""
    x = tokens(seed, n_tokens)
    random = torch.Generator().manual_seed(1000 + seed)
    above = (x[:, :3] > x[:, :3].median(dim=0).values).long()
    kind = above @ torch.tensor([4, 2, 1])
    maps = torch.randn(8, D_MODEL, D_MODEL, generator=random) / math.sqrt(D_MODEL)
    return x, x + torch.einsum("td,tdf->tf", x, maps[kind])
