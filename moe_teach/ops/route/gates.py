"""How the chosen experts are weighed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import RouterConfig


def gates_of(
    config: RouterConfig,
    logits: Float[Tensor, "T E"],
    probs: Float[Tensor, "T E"],
    expert_ids: Int[Tensor, "T K"],
) -> Float[Tensor, "T K"]:
    """Weigh the chosen experts as `config` says.

    Their probabilities, divided by their norm if asked; or, with `topk_first`, a softmax over the
    chosen logits alone. Then `gate_scale`. With k = 1, summing to one turns every gate into the
    constant 1, and the router gets no gradient from the task.
    """
    if config.topk_first:
        gates = logits.gather(-1, expert_ids).softmax(dim=-1)
    else:
        gates = probs.gather(-1, expert_ids)
        if config.normalize_gates:
            gates = gates / _norm_of(gates, config)
    return gates if config.gate_scale == 1 else gates * config.gate_scale


def _norm_of(gates: Tensor, config: RouterConfig) -> Tensor:
    """Give what the gates of each token are divided by, (T, 1); there is no negative gate."""
    if config.norm_order == 1:
        norm = gates.sum(dim=-1, keepdim=True)
    else:
        norm = torch.linalg.vector_norm(gates, config.norm_order, dim=-1, keepdim=True)
    # Sigmoid probabilities can all underflow to zero: then gates are zero and not NaN.
    return norm.clamp_min(max(config.norm_floor, torch.finfo(norm.dtype).tiny))
