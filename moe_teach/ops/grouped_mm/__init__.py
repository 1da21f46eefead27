"""Multiply each expert's rows by that expert's matrix: one contract, three implementations.

    out[n] = w[e] @ rows[n]        for the expert e whose slice holds row n

Expert e owns `rows[expert_offsets[e - 1] : expert_offsets[e]]`. No row is padded, none multiplied
by a matrix that is not its own.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.ops.backends import kernel_of
from moe_teach.ops.choice import ON_GPU, decide, kernels_serve
from moe_teach.ops.demand import demand_rows, unknown_backend
from moe_teach.ops.grouped_mm.reference import grouped_mm_reference
from moe_teach.ops.grouped_mm.torch_fast import grouped_mm_torch, torch_can_group
from moe_teach.ops.precision import in_one_precision

Backend = Literal["reference", "torch", "triton"]
_IMPLEMENTATIONS = {
    "reference": grouped_mm_reference,
    "torch": grouped_mm_torch,
    "triton": kernel_of("moe_teach.ops.grouped_mm.fused", "grouped_mm_triton"),
}
BACKENDS = tuple(_IMPLEMENTATIONS)


def grouped_mm(
    rows: Float[Tensor, "N D"],
    w: Float[Tensor, "E F D"],
    expert_offsets: Int[Tensor, " E"],
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "N F"]:
    """Apply E linear maps to E consecutive slices of rows.

    Args:
        rows: sorted by expert, as `dispatch` lays them out.
        w: one matrix per expert, stored like `nn.Linear.weight`: (out, in).
        expert_offsets: the end of each expert's slice, int32; the last one is N.
        backend: "reference" (a loop over experts), "torch" (`torch.nn.functional.grouped_mm`) or
            "triton" (our kernel); by default our kernel on a GPU, elsewhere torch's where it can
            take these tensors, else the loop.

    Returns:
        One row of width F per row, differentiable in `rows` and `w`. Under autocast both are
        cast first, as in any other matrix multiplication.

    Raises:
        ValueError: if widths, dtypes or the number of experts disagree, or the backend cannot
            do it.
    """
    demand_rows(rows, "rows", w.shape[-1])
    if len(expert_offsets) != len(w):
        raise ValueError(
            f"expert_offsets ends {len(expert_offsets)} slices, but w holds {len(w)} experts."
        )
    rows, w = in_one_precision(rows, w)
    if backend is None:
        return multiplication(rows, w)(rows, w, expert_offsets)
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](rows, w, expert_offsets)


def multiplication(rows: Tensor, w: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Choose once for several products of the same two widths, whose operands were checked."""
    return _IMPLEMENTATIONS[decide("grouped_mm", _fitting, rows, w)]


def _fitting(rows: Tensor, w: Tensor) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if kernels_serve(rows):
        return "triton", ON_GPU
    if torch_can_group(rows, w):
        return "torch", "torch's grouped matmul takes these tensors"
    return "reference", "torch's grouped matmul does not take these tensors"
