"""The auxiliary losses of a router. Each returns one number; the trainer sets the factor.

With `real`, the mask of the tokens that are text, a padded batch gives the loss of the unpadded
one.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.balance import counts, importance, load, mean_probs, only_real, shares_of
from moe_teach.types import Routing


def load_balance_loss(
    routing: Routing, real: Bool[Tensor, " T"] | None = None
) -> Float[Tensor, ""]:
    """Return E * sum over i of load_i * mean_probs_i (Switch, arXiv 2101.03961, eq. 4).

    Even routing scores exactly 1 for every number of experts and every k, because the load is a
    share of all T * K choices. Hugging Face and flaxformer divide by T only, so there even
    routing scores k: their coefficients are k times smaller for the same effect. The gradient
    flows through the probabilities; the load is a count and has none.
    """
    return routing.n_experts * (load(routing, real) * mean_probs(routing, real)).sum()


def router_z_loss(routing: Routing, real: Bool[Tensor, " T"] | None = None) -> Float[Tensor, ""]:
    """Return the mean squared log-sum-exp of the logits (ST-MoE, arXiv 2202.08906, eq. 5).

    It keeps logits small, where float32 and bfloat16 still tell experts apart. Adding a constant
    to all logits changes no softmax, but it changes this loss. With no tokens it is 0.
    """
    logits = only_real(routing, real).logits
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return precise.logsumexp(dim=-1).square().sum() / max(len(logits), 1)


def importance_loss(routing: Routing, real: Bool[Tensor, " T"] | None = None) -> Float[Tensor, ""]:
    """Return the squared coefficient of variation of the importance (Shazeer 2017, eq. 7).

    0 when every expert is given the same sum of gates, E - 1 when one expert is given all.
    """
    totals = importance(routing, real)
    mean = totals.mean()
    spread = (totals - mean).square().mean()
    return spread / mean.square().clamp_min(torch.finfo(totals.dtype).tiny)


def sequence_balance_loss(
    routing: Routing, n_sequences: int, real: Bool[Tensor, " T"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean over sequences of each sequence's own balancing loss.

    DeepSeek-V3 (arXiv 2412.19437, eq. 17 to 20), in the normalisation of `load_balance_loss`:
    1 when every sequence is spread evenly. It forbids what `load_balance_loss` allows, a sequence
    that uses few experts while others use the rest. Sequences may have padding anywhere; one
    without any text does not count. With no tokens the loss is 0.

    Raises:
        ValueError: if the tokens do not divide into so many sequences.
    """
    n_tokens = len(routing.expert_ids)
    refuse(
        n_sequences < 1 or n_tokens % n_sequences > 0,
        f"{n_tokens} tokens do not divide into {n_sequences} sequences of equal length.",
    )
    sequence = torch.arange(n_sequences, device=routing.probs.device)
    sequence = sequence.repeat_interleave(n_tokens // n_sequences)
    chosen = counts(routing, sequence, n_sequences, real)
    shares = shares_of(only_real(routing, real).probs)
    if real is not None:
        sequence = sequence[real]
    lengths = torch.bincount(sequence, minlength=n_sequences)
    totals = shares.new_zeros(n_sequences, routing.n_experts).index_add(0, sequence, shares)
    loads = chosen / chosen.sum(dim=-1, keepdim=True).clamp(min=1)
    own = routing.n_experts * (loads * totals / lengths[:, None].clamp(min=1)).sum(dim=-1)
    return own.sum() / (lengths > 0).sum().clamp(min=1)
