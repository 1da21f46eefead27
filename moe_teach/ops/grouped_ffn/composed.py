"""The definition: three grouped matmuls and an activation, each over all rows."""

from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import activate
from moe_teach.ops.grouped_mm import multiplication
from moe_teach.types import ExpertWeights


def grouped_ffn_composed(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Activation
) -> Tensor:
    """Multiply up, activate, multiply down; autograd writes the backward pass."""
    multiply = multiplication(rows, weights.w_up)
    up = multiply(rows, weights.w_up, expert_offsets)
    gate = None
    if weights.w_gate is not None:
        gate = multiply(rows, weights.w_gate, expert_offsets)
    return multiply(activate(up, gate, activation), weights.w_down, expert_offsets)
