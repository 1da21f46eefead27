"""Sort the choices by expert once; then every expert's tokens are one slice."""

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import expert_ffn, unbind
from moe_teach.ops.combine import combine
from moe_teach.ops.dispatch import dispatch
from moe_teach.types import ExpertWeights, Routing


def routed_ffn_sorted(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Run each expert on its own slice, and bring all answers back in one step."""
    rows, dispatched = dispatch(x, routing)
    slices = rows.split(dispatched.tokens_per_expert.tolist())
    answers = [
        expert_ffn(own, *matrices, activation)
        for own, matrices in zip(slices, unbind(weights), strict=True)
    ]
    return combine(torch.cat(answers), routing.gates, dispatched).to(x.dtype)
