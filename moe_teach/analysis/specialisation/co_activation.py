"""Which experts are chosen together.

As OLMoE defines it (arXiv 2409.02060, section 5): co-activation(i, j) = N_ij / N_i, the share of
the tokens with expert i that have expert j, too.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse


def co_activation(expert_ids: Int[Tensor, "T K"], n_experts: int) -> Float[Tensor, "E E"]:
    """Return N_ij / N_i in row i; the diagonal is 1, the rest of a row sums to K - 1.

    The row of an expert that nobody chose is NaN. If partners were drawn evenly, each would have
    (K - 1) / (E - 1); busy experts are everybody's partners, so compare with
    `co_activation(with_other_partners(expert_ids, seed), n_experts)`.

    Raises:
        ValueError: there are no tokens, or a token has the same expert twice.
    """
    refuse(not len(expert_ids), "There are no tokens, so there is nothing to measure.")
    chosen = F.one_hot(expert_ids.long(), n_experts).sum(1)
    refuse(int(chosen.max()) > 1, "A token has one expert twice: co-activation is about sets.")
    together = chosen.double().T @ chosen.double()
    return together / together.diagonal()[:, None]


def with_other_partners(
    expert_ids: Int[Tensor, "T K"], seed: int = 0, rounds: int = 100
) -> Int[Tensor, "T K"]:
    """Mix who is chosen together, and leave everything else: the null of co-activation.

    Tokens are paired at random and exchange one choice each, unless one of them would then have
    an expert twice; so every token keeps K different experts and every expert its load. Such
    exchanges, if there are enough, draw evenly from all tables with these sums (Gotelli 2000
    compares the algorithm with others).

    Args:
        expert_ids: the sets of K.
        seed: of the draws.
        rounds: in each one every token meets another.
    """
    source, mixed = torch.Generator().manual_seed(seed), expert_ids.clone()
    n_tokens, top_k = expert_ids.shape
    half = n_tokens // 2
    for _ in range(rounds if half else 0):
        order = torch.randperm(n_tokens, generator=source)
        here, there = order[:half], order[half : 2 * half]
        place, other = torch.randint(top_k, (2, half), generator=source)
        mine, theirs = mixed[here, place], mixed[there, other]
        clash = (mixed[here] == theirs[:, None]).any(1) | (mixed[there] == mine[:, None]).any(1)
        mixed[here, place] = torch.where(clash, mine, theirs)
        mixed[there, other] = torch.where(clash, theirs, mine)
    return mixed
