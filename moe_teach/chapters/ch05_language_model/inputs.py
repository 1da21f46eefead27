"""Stand-ins for the parts of a transformer: small enough to compute again by one line."""

import torch
from torch import Tensor, nn

from moe_teach.judging.exercise import generator
from moe_teach.types import Routing


def attend(x: Tensor, weight: Tensor) -> Tensor:
    """Give each position the mean over its past, times a matrix."""
    ages = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
    return (x.cumsum(dim=1) / ages) @ weight


def mix(x: Tensor, weight: Tensor) -> Tensor:
    """Work on each position alone, as experts do."""
    return (x @ weight).tanh()


def rms_norm(x: Tensor) -> Tensor:
    """Divide by the root of the mean square, as a fresh `nn.RMSNorm` does."""
    return x / (x.square().mean(dim=-1, keepdim=True) + torch.finfo(x.dtype).eps).sqrt()


class Attention(nn.Module):
    """Stands in for attention: it mixes a position with all before it, and counts its calls."""

    def __init__(self, d_model: int, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(d_model, d_model, generator=generator(seed))
        self.weight = nn.Parameter(drawn / d_model**0.5)  # sums of size one: no tanh is saturated
        self.seen: list[tuple[int, ...]] = []  # the shapes it was called with

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, S, D) for (B, S, D)."""
        self.seen.append(tuple(x.shape))
        return attend(x, self.weight)


class Mixture(Attention):
    """Stands in for an MoE layer: one matrix, and a routing record that it remembers."""

    last: Routing | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:  # type: ignore[override]
        """Return (B, S, D) for (B, S, D), and a record of one expert."""
        self.seen.append(tuple(x.shape))
        ones = torch.ones(x.shape[:-1].numel(), 1)
        self.last = Routing(0 * ones, ones, ones, torch.zeros(len(ones), 1, dtype=torch.long))
        return mix(x, self.weight), self.last
