"""How evenly the tokens are spread over the experts, and the bias that evens them out.

Everything here counts *choices*, whether or not a capacity dropped them later: balance is about
what the router wants. The rows that experts really compute are `Dispatched.tokens_per_expert`.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.types import Routing


def tokens_per_expert(routing: Routing) -> Int[Tensor, " E"]:
    """Count how many choices fell on each expert; the sum is T * K."""
    return torch.bincount(routing.expert_ids.flatten(), minlength=routing.n_experts)


def load(routing: Routing | Int[Tensor, " E"]) -> Float[Tensor, " E"]:
    """Return the share of all choices that fell on each expert; the sum is 1.

    This is f_i of the Switch Transformer (arXiv 2101.03961, eq. 5), divided by K so that even
    routing gives 1 / E for every K. It takes a routing, or counts summed over many of them. With
    no tokens at all every expert has the same share.
    """
    counts = _counts(routing)
    total = counts.sum()
    if total == 0:
        return torch.full_like(counts, 1 / counts.numel(), dtype=torch.float32)
    return counts / total


def mean_probs(routing: Routing) -> Float[Tensor, " E"]:
    """Return the mean probability of each expert; the sum is 1 (P_i of Switch, eq. 6).

    Sigmoid probabilities do not sum to 1 over the experts. They are divided by their sum first
    (DeepSeek-V3, arXiv 2412.19437, eq. 19); otherwise the router could lower the loss by lowering
    all of them. With no tokens the result is zero.
    """
    total = routing.probs.sum(dim=-1, keepdim=True)
    shares = routing.probs / total.clamp_min(torch.finfo(total.dtype).tiny)
    return shares.sum(dim=0) / max(len(shares), 1)


def importance(routing: Routing) -> Float[Tensor, " E"]:
    """Return the sum of the gates each expert was given (Shazeer 2017, arXiv 1701.06538, eq. 6)."""
    totals = routing.gates.new_zeros(routing.n_experts)
    return totals.index_add(0, routing.expert_ids.flatten(), routing.gates.flatten())


def update_expert_bias(
    bias: Float[Tensor, " E"], tokens_per_expert: Int[Tensor, " E"], rate: float
) -> Float[Tensor, " E"]:
    """Return the bias after one step: up by `rate` for idle experts, down for busy ones.

    Wang et al. 2024 (arXiv 2408.15664, algorithm 1): only the sign of the error counts, so the
    step is as large for a small imbalance as for a large one. Call it in training only, once per
    optimiser step, with the counts of the whole batch.
    """
    counts = tokens_per_expert.to(bias.dtype)
    return bias + rate * torch.sign(counts.mean() - counts)


def max_violation(routing: Routing | Int[Tensor, " E"]) -> Float[Tensor, ""]:
    """Return by how much the busiest expert exceeds the mean: 0 is even, E - 1 is collapse.

    MaxVio of Wang et al. 2024 (arXiv 2408.15664). Takes a routing or summed counts.
    """
    share = load(routing)
    return share.max() * share.numel() - 1


def load_entropy(routing: Routing | Int[Tensor, " E"]) -> Float[Tensor, ""]:
    """Return the entropy of the load divided by log E: 1 is even, 0 is collapse.

    A single expert counts as even. Takes a routing or summed counts.
    """
    share = load(routing)
    if share.numel() == 1:
        return torch.ones_like(share[0])
    return torch.special.entr(share).sum() / math.log(share.numel())


def _counts(routing: Routing | Tensor) -> Tensor:
    return tokens_per_expert(routing) if isinstance(routing, Routing) else routing
