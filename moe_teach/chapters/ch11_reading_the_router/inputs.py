"""Chapter 11: routes of a made-up router that follows the token and a little more."""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator


@dataclass(frozen=True)
class Drawn:
    """T tokens: their experts (T, K), their ids (T,) and their domains (T,)."""

    expert_ids: Tensor
    tokens: Tensor
    domains: Tensor


def some_routes(
    seed: int,
    n_tokens: int,
    *,
    n_experts: int = 5,
    top_k: int = 2,
    n_ids: int = 7,
    n_domains: int = 3,
    beyond: float = 1.5,
) -> Drawn:
    """Draw domains, tokens that depend on the domain, and experts that depend on both.

    With `beyond` 0 the expert depends on the token alone.
    """
    random = generator(seed)
    domains = torch.randint(n_domains, (n_tokens,), generator=random)
    favour = 2 * torch.randn(n_domains, n_ids, generator=random)
    tokens = favour.softmax(dim=-1)[domains].multinomial(1, generator=random)[:, 0]
    by_token = 2 * torch.randn(n_ids, n_experts, generator=random)
    by_domain = beyond * torch.randn(n_domains, n_experts, generator=random)
    probs = (by_token[tokens] + by_domain[domains]).softmax(dim=-1)
    return Drawn(probs.multinomial(top_k, generator=random), tokens, domains)
