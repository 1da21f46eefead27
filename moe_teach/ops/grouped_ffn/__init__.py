"""The feed-forward of all experts on rows that stand sorted by expert: one contract.

    y[n] = w_down[e] @ activation(w_up[e] @ rows[n])        for the expert e that owns row n

plus `b_up[e]` and `b_down[e]` where the experts have biases, which only "composed" adds.

"composed" is the definition in terms of grouped matmuls; it serves every device and, on a CPU, the
experts that have so little to do that visiting them costs more than their work. "expertwise"
finishes one expert before the next begins and is the fast path of the CPU in float32. "padded"
gives all experts slices of equal length and is the fast path of the CPU in bfloat16 while the load
is even. "triton" is two kernels of our own and the fast path of a GPU.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.activation import activate
from moe_teach.ops.demand import KERNEL_ACTIVATIONS, demand_rows, experts_in_one_precision
from moe_teach.ops.grouped_ffn.expertwise import grouped_ffn_expertwise, rows_of_each
from moe_teach.ops.grouped_ffn.padded import grouped_ffn_padded
from moe_teach.ops.grouped_mm import multiplication, obstacle_to_torch
from moe_teach.ops.operation import ON_GPU, Kernel, Operation, asked_for, kernels_serve
from moe_teach.types import ExpertWeights

Backend = Literal["composed", "expertwise", "padded", "triton"]
_ONE_VISIT = 2**20
_FEW = 8  # rows an expert has on average, up to which its work is not worth a visit
_SHORT = 48  # rows an expert has on average, below which its matmuls are too small alone
_MOST_PADDING = 1.6  # rows computed over rows needed, up to which a batched matmul pays


def grouped_ffn(
    rows: Float[Tensor, "N D"],
    expert_offsets: Int[Tensor, " E"],
    weights: ExpertWeights,
    activation: Nonlinearity,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "N D"]:
    """Run every row through the expert that owns its slice.

    Args:
        rows: sorted by expert, as `dispatch` lays them out.
        expert_offsets: the end of each expert's slice, int32; the last one is N.
        weights: the matrices of all experts.
        activation: what happens between the matrices, see `MoEConfig`.
        backend: one of these four; by default the one that was measured to be fastest for this
            device, dtype, size and evenness of the load.

    Returns:
        One row per row, differentiable in `rows` and the weights ("composed": twice).

    Raises:
        ValueError: if widths, dtypes or the number of experts disagree, or the backend that was
            named lacks the activation or the biases.
    """
    demand_rows(rows, "rows", weights.w_up.shape[-1])
    n_experts = weights.w_up.shape[0]
    if len(expert_offsets) != n_experts:
        raise ValueError(
            f"expert_offsets ends {len(expert_offsets)} slices, but there are {n_experts} experts."
        )
    rows, weights = experts_in_one_precision(rows, weights)
    return GROUPED_FFN(rows, expert_offsets, weights, activation, backend=backend)


def grouped_ffn_composed(
    rows: Tensor,
    expert_offsets: Tensor,
    weights: ExpertWeights,
    activation: Nonlinearity,
    obstacle: str | None = None,
) -> Tensor:
    """Multiply up, activate, multiply down; autograd writes the backward pass."""
    multiply = multiplication(rows, weights.w_up, expert_offsets, obstacle)
    owner = _owners(rows, expert_offsets) if weights.has_biases else None

    def mapped(rows: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        y = multiply(rows, w)
        return y if bias is None else y + F.embedding(owner, bias)

    up = mapped(rows, weights.w_up, weights.b_up)
    gate = None if weights.w_gate is None else mapped(rows, weights.w_gate, weights.b_gate)
    return mapped(activate(up, gate, activation), weights.w_down, weights.b_down)


def _owners(rows: Tensor, expert_offsets: Tensor) -> Tensor:
    """Say for each row which expert's slice it stands in, (N,)."""
    places = torch.arange(len(rows), device=rows.device, dtype=expert_offsets.dtype)
    return torch.searchsorted(expert_offsets, places, right=True)


def _fitting(
    rows: Tensor, expert_offsets: Tensor, weights: ExpertWeights, activation: Nonlinearity
) -> tuple[Any, ...]:
    """Choose a backend: measured on one core, a visit costs what a million multiply-adds cost."""
    if asked_for("grouped_mm"):
        return "composed", "a backend was asked for its products, grouped_mm"
    if weights.has_biases:
        return "composed", "the other ways do not add the biases of experts"
    if kernels_serve(rows) and activation in KERNEL_ACTIVATIONS:
        return "triton", ON_GPU
    if rows.device.type != "cpu" or not len(rows):
        return "composed", "it serves every device and no rows at all"
    n_experts, d_ff, d_model = weights.w_up.shape
    n_rows, is_precise = len(rows), rows.dtype.itemsize > 2
    is_short = n_rows <= _SHORT * n_experts
    is_small = n_rows * d_model * d_ff < n_experts * _ONE_VISIT or n_rows <= _FEW * n_experts
    # Laying rows out for the padded block pays when a backward pass uses the block again.
    is_small = is_small or (is_short and not torch.is_grad_enabled())
    may_pad = (is_short and not is_small) if is_precise else n_rows > n_experts
    counts = rows_of_each(expert_offsets) if may_pad else None
    if counts is not None and max(counts) * n_experts <= _MOST_PADDING * n_rows:
        return "padded", "the load is even, and the matmuls of single experts are slow here", counts
    if is_small and not (obstacle := obstacle_to_torch(rows, weights.w_up)):
        return "composed", "one call for all experts costs less than visiting each", obstacle
    return "expertwise", "every expert has enough to do, or the load is uneven", counts


GROUPED_FFN = Operation(
    "grouped_ffn",
    {
        "composed": grouped_ffn_composed,
        "expertwise": grouped_ffn_expertwise,
        "padded": grouped_ffn_padded,
        "triton": Kernel("moe_teach.ops.grouped_ffn.fused:grouped_ffn_triton"),
    },
    _fitting,
)
