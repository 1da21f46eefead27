"""The feed-forward of all experts on rows that stand sorted by expert."""

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.activation import activate
from moe_teach.ops.grouped_mm import Backend, grouped_mm
from moe_teach.types import ExpertWeights


def grouped_ffn(
    rows: Float[Tensor, "N D"],
    expert_offsets: Int[Tensor, " E"],
    weights: ExpertWeights,
    activation: Activation,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "N D"]:
    """Run every row through the expert that owns its slice.

    The arguments are those of `grouped_mm`, which does the work; `backend` is handed to it.
    """
    up = grouped_mm(rows, weights.w_up, expert_offsets, backend=backend)
    gate = None
    if weights.w_gate is not None:
        gate = grouped_mm(rows, weights.w_gate, expert_offsets, backend=backend)
    inner = activate(up, gate, activation)
    return grouped_mm(inner, weights.w_down, expert_offsets, backend=backend)
