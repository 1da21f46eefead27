"""Multiply each expert's rows by that expert's matrix: one contract, two implementations.

    out[n] = w[e] @ rows[n]        for the expert e whose slice holds row n

Expert e owns `rows[expert_offsets[e - 1] : expert_offsets[e]]`. No row is padded, none multiplied
by a matrix that is not its own.
"""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.demand import demand_rows, unknown_backend
from moe_teach.ops.grouped_mm.reference import grouped_mm_reference
from moe_teach.ops.grouped_mm.torch_fast import grouped_mm_torch, torch_can_group
from moe_teach.ops.precision import in_one_precision

Backend = Literal["reference", "torch"]
_IMPLEMENTATIONS = {"reference": grouped_mm_reference, "torch": grouped_mm_torch}
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
        backend: "reference" (a loop over experts) or "torch" (`torch.nn.functional.grouped_mm`);
            by default torch's where it can take these tensors, else the loop.

    Returns:
        One row of width F per row, differentiable in `rows` and `w`. Under autocast both are
        cast first, as in any other matrix multiplication.

    Raises:
        ValueError: if widths, dtypes or the number of experts disagree, or "torch" cannot do it.
    """
    demand_rows(rows, "rows", w.shape[-1])
    refuse(
        expert_offsets.shape[0] != w.shape[0],
        f"expert_offsets ends {expert_offsets.shape[0]} slices, but w holds {w.shape[0]} experts.",
    )
    rows, w = in_one_precision(rows, w)
    backend = backend or ("torch" if torch_can_group(rows, w) else "reference")
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](rows, w, expert_offsets)
