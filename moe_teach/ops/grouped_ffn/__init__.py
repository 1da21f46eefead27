"""The feed-forward of all experts on rows that stand sorted by expert: one contract.

    y[n] = w_down[e] @ activation(w_up[e] @ rows[n])        for the expert e that owns row n

"composed" is the definition in terms of grouped matmuls and serves every device; "expertwise"
finishes one expert before the next begins and is the fast path of the CPU.
"""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import Activation, refuse
from moe_teach.ops.demand import demand_rows, unknown_backend
from moe_teach.ops.grouped_ffn.composed import grouped_ffn_composed
from moe_teach.ops.grouped_ffn.expertwise import grouped_ffn_expertwise
from moe_teach.ops.precision import in_one_precision
from moe_teach.types import ExpertWeights

Backend = Literal["composed", "expertwise"]
_IMPLEMENTATIONS = {"composed": grouped_ffn_composed, "expertwise": grouped_ffn_expertwise}
BACKENDS = tuple(_IMPLEMENTATIONS)


def grouped_ffn(
    rows: Float[Tensor, "N D"],
    expert_offsets: Int[Tensor, " E"],
    weights: ExpertWeights,
    activation: Activation,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "N D"]:
    """Run every row through the expert that owns its slice.

    Args:
        rows: sorted by expert, as `dispatch` lays them out.
        expert_offsets: the end of each expert's slice, int32; the last one is N.
        weights: the matrices of all experts.
        activation: "swiglu", "gelu" or "relu".
        backend: "composed" or "expertwise"; by default the second on a CPU, else the first.

    Returns:
        One row per row, differentiable in `rows` and the weights ("expertwise": once).

    Raises:
        ValueError: if widths, dtypes or the number of experts disagree.
    """
    demand_rows(rows, "rows", weights.w_up.shape[-1])
    n_experts = weights.w_up.shape[0]
    refuse(
        expert_offsets.shape[0] != n_experts,
        f"expert_offsets ends {expert_offsets.shape[0]} slices, but there are {n_experts} experts.",
    )
    rows, up, down, gate = in_one_precision(rows, weights.w_up, weights.w_down, weights.w_gate)
    weights = ExpertWeights(w_up=up, w_down=down, w_gate=gate)
    backend = backend or ("expertwise" if rows.device.type == "cpu" else "composed")
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](rows, expert_offsets, weights, activation)
