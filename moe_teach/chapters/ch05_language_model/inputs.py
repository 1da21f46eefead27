"""Stand-ins for a transformer and its parts: small enough to compute again by one line."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from moe_teach.judging.exercise import generator
from moe_teach.types import Routing

LanguageModel = Callable[[Tensor], Tensor]  # token ids (B, S) -> logits (B, S, V)


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


def causal(vocab_size: int, size: float, seed: int) -> LanguageModel:
    """Logits from running sums of embeddings: each position sees itself and the past."""
    table = size * torch.randn(vocab_size, vocab_size, generator=generator(seed))

    def model(token_ids: Tensor) -> Tensor:
        return table[token_ids].cumsum(dim=1)

    return model


def as_module(function: LanguageModel) -> nn.Module:
    """Wrap a model so that its logits hang on a parameter, as those of real ones do."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, token_ids: Tensor) -> Tensor:
            return self.scale * function(token_ids)

    return Scaled()


def rounding(vocab_size: int, seed: int) -> LanguageModel:
    """A causal model whose sums come out a little different with another last token."""
    exact = causal(vocab_size, 0.01, seed)

    def model(token_ids: Tensor) -> Tensor:
        return exact(token_ids) + 1e-6 * (token_ids[:, -1:, None] % 5)

    return model


def peeking(vocab_size: int, seed: int) -> LanguageModel:
    """A model in which each position also sees the sum of everything, the future included."""
    table = 0.01 * torch.randn(vocab_size, vocab_size, generator=generator(seed))

    def model(token_ids: Tensor) -> Tensor:
        return table[token_ids].cumsum(dim=1) + table[token_ids].sum(dim=1, keepdim=True)

    return model


def leaking(vocab_size: int, at: tuple[int, int], size: float, seed: int) -> LanguageModel:
    """A model in which one logit, in one row and at one position, depends on the last token."""
    honest = causal(vocab_size, 0.01, seed)

    def model(token_ids: Tensor) -> Tensor:
        logits = honest(token_ids).clone()
        # The length is in it, too: whoever cuts the last token off sees the leak as well.
        logits[(*at, at[1] % vocab_size)] += size * (
            token_ids[at[0], -1] + 100 * token_ids.shape[1]
        )
        return logits

    return model


def knowing(vocab_size: int) -> LanguageModel:
    """Says the next token aloud, as if the answer stood among the inputs."""

    def model(token_ids: Tensor) -> Tensor:
        following = torch.cat([token_ids[:, 1:], token_ids[:, :1]], dim=1)
        return 3.0 * functional.one_hot(following, vocab_size).float()

    return model
