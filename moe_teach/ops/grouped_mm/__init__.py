"""Multiply each expert's rows by that expert's matrix: one contract, three implementations.

    out[n] = w[e] @ rows[n]        for the expert e whose slice holds row n

Expert e owns `rows[expert_offsets[e - 1] : expert_offsets[e]]`. No row is padded, none multiplied
by a matrix that is not its own.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.ops.demand import demand_rows, in_one_precision
from moe_teach.ops.operation import KERNEL_DTYPES, ON_GPU, Kernel, Operation, kernels_serve

Backend = Literal["reference", "torch", "triton"]
_ALIGNMENT = 16  # bytes: every row of every operand must start on such a boundary


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
    return GROUPED_MM(rows, w, expert_offsets, backend=backend)


def grouped_mm_reference(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Multiply slice by slice, and put the results one after the other."""
    ends = expert_offsets.tolist()
    starts = [0, *ends[:-1]]
    slices = [rows[start:end] for start, end in zip(starts, ends, strict=True)]
    return torch.cat([own @ matrix.T for own, matrix in zip(slices, w.unbind(), strict=True)])


def multiplication(
    rows: Tensor, w: Tensor, expert_offsets: Tensor, obstacle: str | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Pick once for several products of the same rows and the same two widths.

    `obstacle` is what keeps torch's function from them, where that was asked before.
    """
    multiply, found = GROUPED_MM.pick(None, rows, w, expert_offsets, obstacle)
    return lambda rows, w: multiply(rows, w, expert_offsets, *found)


def grouped_mm_torch(
    rows: Tensor, w: Tensor, expert_offsets: Tensor, obstacle: str | None = None
) -> Tensor:
    """Call torch's grouped matrix multiplication.

    Raises:
        ValueError: naming the reason, where torch's function cannot take the operands.
    """
    obstacle = obstacle_to_torch(rows, w) if obstacle is None else obstacle
    if obstacle:
        raise ValueError(f"torch's grouped matmul is not possible here: {obstacle}.")
    ends = expert_offsets.to(torch.int32)
    out = F.grouped_mm(rows.contiguous(), w.contiguous().mT, offs=ends)
    if out.requires_grad:
        # Its backward pass refuses the strides that a sum (all zeros) or a transpose leaves.
        out.register_hook(Tensor.contiguous)
    return out


def obstacle_to_torch(rows: Tensor, w: Tensor) -> str:
    """Say what keeps `torch.nn.functional.grouped_mm` from these operands; empty if nothing."""
    if not hasattr(F, "grouped_mm"):
        return f"torch {torch.__version__} does not have it"
    if rows.dtype not in KERNEL_DTYPES:
        return f"it does not know {rows.dtype}"
    if not rows.shape[0]:
        return "there are no rows"
    if rows.is_cuda and rows.dtype != torch.bfloat16:
        return f"on a GPU it knows bfloat16 only, not {rows.dtype}"
    _, d_out, d_in = w.shape
    if d_out * rows.element_size() % _ALIGNMENT or d_in * rows.element_size() % _ALIGNMENT:
        return f"widths {tuple(w.shape[1:])} in {rows.dtype} are not multiples of 16 bytes"
    return ""


def _fitting(
    rows: Tensor, w: Tensor, expert_offsets: Tensor, obstacle: str | None = None
) -> tuple[str, ...]:
    """Choose a backend, and say why."""
    if kernels_serve(rows):
        return "triton", ON_GPU
    obstacle = obstacle_to_torch(rows, w) if obstacle is None else obstacle
    if not obstacle:
        return "torch", "torch's grouped matmul takes these tensors", obstacle
    return "reference", "torch's grouped matmul does not take these tensors"


GROUPED_MM = Operation(
    "grouped_mm",
    {
        "reference": grouped_mm_reference,
        "torch": grouped_mm_torch,
        "triton": Kernel("moe_teach.ops.grouped_mm.fused:grouped_mm_triton"),
    },
    _fitting,
)
