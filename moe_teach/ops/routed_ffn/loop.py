"""The loop that everybody writes first: for each expert, find its tokens with a mask."""

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import expert_ffn, unbind
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_loop(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Compute each expert on the tokens that chose it, and add the gated answer to them."""
    out = torch.zeros_like(x, dtype=routing.gates.dtype)
    for expert, matrices in enumerate(unbind(weights)):
        is_mine = routing.expert_ids == expert  # (T, K)
        if routing.kept is not None:
            is_mine = is_mine & routing.kept
        token, choice = torch.where(is_mine)
        answer = expert_ffn(x[token], *matrices, activation)
        out = out.index_add(0, token, routing.gates[token, choice, None] * answer)
    return out.to(x.dtype)
