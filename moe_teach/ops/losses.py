"""The auxiliary losses of a router. Each returns one number; the trainer sets the factor."""

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.ops.balance import importance, load, mean_probs
from moe_teach.types import Routing


def load_balance_loss(routing: Routing) -> Float[Tensor, ""]:
    """Return E * sum over i of load_i * mean_probs_i (Switch, arXiv 2101.03961, eq. 4).

    Even routing scores exactly 1 for every number of experts and every k, because the load is a
    share of all T * K choices. Hugging Face and flaxformer divide by T only, so there even
    routing scores k: their coefficients are k times smaller for the same effect. The gradient
    flows through the probabilities; the load is a count and has none.
    """
    return routing.n_experts * (load(routing) * mean_probs(routing)).sum()


def router_z_loss(routing: Routing) -> Float[Tensor, ""]:
    """Return the mean squared log-sum-exp of the logits (ST-MoE, arXiv 2202.08906, eq. 5).

    It keeps logits small, where float32 and bfloat16 still tell experts apart. Adding a constant
    to all logits changes no softmax, but it changes this loss. With no tokens it is 0.
    """
    log_total = routing.logits.to(torch.promote_types(routing.logits.dtype, torch.float32))
    return log_total.logsumexp(dim=-1).square().sum() / max(len(routing.logits), 1)


def importance_loss(routing: Routing) -> Float[Tensor, ""]:
    """Return the squared coefficient of variation of the importance (Shazeer 2017, eq. 7).

    0 when every expert is given the same sum of gates, E - 1 when one expert is given all.
    """
    totals = importance(routing)
    mean = totals.mean()
    spread = (totals - mean).square().mean()
    return spread / mean.square().clamp_min(torch.finfo(totals.dtype).tiny)
