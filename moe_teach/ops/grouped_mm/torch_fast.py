"""The grouped matrix multiplication in one call of torch, within the limits of that call."""

import torch
import torch.nn.functional as F
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ALIGNMENT = 16  # bytes: every row of every operand must start on such a boundary


def torch_can_group(rows: Tensor, w: Tensor) -> bool:
    """Tell whether `torch.nn.functional.grouped_mm` takes these operands."""
    return not _obstacle(rows, w)


def grouped_mm_torch(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Call torch's grouped matrix multiplication.

    Raises:
        ValueError: naming the reason, where torch's function cannot take the operands.
    """
    if obstacle := _obstacle(rows, w):
        raise ValueError(f"torch's grouped matmul is not possible here: {obstacle}.")
    ends = expert_offsets.to(torch.int32)
    out = F.grouped_mm(rows.contiguous(), w.contiguous().mT, offs=ends)
    return _ContiguousGradient.apply(out) if out.requires_grad else out


def _obstacle(rows: Tensor, w: Tensor) -> str:
    if not hasattr(F, "grouped_mm"):
        return f"torch {torch.__version__} does not have it"
    if rows.dtype not in _DTYPES:
        return f"it does not know {rows.dtype}"
    if not rows.shape[0]:
        return "there are no rows"
    if rows.is_cuda and rows.dtype != torch.bfloat16:
        return f"on a GPU it knows bfloat16 only, not {rows.dtype}"
    _, d_out, d_in = w.shape
    if d_out * rows.element_size() % _ALIGNMENT or d_in * rows.element_size() % _ALIGNMENT:
        return f"widths {tuple(w.shape[1:])} in {rows.dtype} are not multiples of 16 bytes"
    return ""


class _ContiguousGradient(torch.autograd.Function):
    """The identity, whose gradient has rows in memory order.

    The backward pass of torch's grouped matmul refuses the strides that a sum (all zeros) or a
    transpose leaves in the gradient it receives.
    """

    @staticmethod
    def forward(ctx, out: Tensor) -> Tensor:
        return out.view_as(out)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.contiguous()
