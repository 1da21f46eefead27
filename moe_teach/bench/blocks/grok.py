"""Grok-1's MoE block by its published rule, token by token: an oracle, and not meant to be fast.

Read off model.py of xai-org/grok-1 (the router's probabilities, the block of two maps in, one out,
and the weighted sum), for one thing to compare our layer with where transformers has no class.
"""

import math

import torch
from torch import Tensor, nn


def gelu(x: Tensor) -> Tensor:
    """Give the GELU in the form with tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


class Maps(nn.Module):
    """Linear maps of one name, (..., in, out), called `w` as in the release."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(*shape))


class GrokBlock(nn.Module):
    """A router and E experts; `config` has the names of the released config.json."""

    def __init__(self, config: object) -> None:
        super().__init__()
        width, inner, n_experts = config.hidden_size, config.intermediate_size, config.num_experts
        self.top_k = config.num_experts_per_tok
        self.router = Maps(width, n_experts)
        self.moe = nn.ModuleDict(
            {
                "linear": Maps(n_experts, width, inner),
                "linear_v": Maps(n_experts, width, inner),
                "linear_1": Maps(n_experts, inner, width),
            }
        )

    def chosen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give probabilities and ids of the experts of one vector, best first."""
        odds = (x @ self.router.w).exp()
        best = (odds / odds.sum()).sort(descending=True)
        return best.values[: self.top_k], best.indices[: self.top_k]

    def forward(self, x: Tensor) -> Tensor:
        """Answer every vector alone."""
        return torch.stack([self.answer(row) for row in x.flatten(0, -2)]).view_as(x)

    def answer(self, x: Tensor) -> Tensor:
        """Mix the answers of the chosen with their probabilities as they are."""
        maps = {name: part.w for name, part in self.moe.items()}
        total = torch.zeros_like(x)
        for probability, expert in zip(*self.chosen(x), strict=True):
            inner = gelu(x @ maps["linear"][expert]) * (x @ maps["linear_v"][expert])
            total = total + probability * (inner @ maps["linear_1"][expert])
        return total
