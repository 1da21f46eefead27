"""Tokens of four kinds: the smallest task on which a router has something to find."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

N_FEATURES, N_ANSWERS = 8, 2


def four_kinds(seed: int, n_tokens: int) -> tuple[Float[Tensor, "T 8"], Float[Tensor, "T 2"]]:
    """Draw tokens x (T, 8) and targets (T, 2): the signs of the first two features are the kind.

    Each kind has a linear map of its own from token to target. Chapter 03 builds the same task, to
    the last number, in front of the reader.
    """
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, N_FEATURES, generator=random)
    maps = torch.randn(4, N_FEATURES, N_ANSWERS, generator=random) / math.sqrt(N_FEATURES)
    return x, torch.einsum("td,tdf->tf", x, maps[kind_of(x)])


def kind_of(x: Float[Tensor, "T 8"]) -> Tensor:
    """Give the kind of each token, 0 to 3: (T,)."""
    return 2 * (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
