"""Combine as one kernel forward and one backward, in the precision of the gates.

Forward, a program owns some tokens and columns and collects their rows. Backward, a program owns
some choices: it reads the gradient of their tokens once and finishes both

    dy[slot[t, k]]  = gates[t, k] * dout[t]
    dgates[t, k]    = dout[t] . y[slot[t, k]]

The K programs of one token run side by side, so that its gradient comes from memory once.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moe_teach.ops.fused_rows import collect, demand_float, row_tile, sum_dtype
from moe_teach.ops.triton_host import demand_launchable, tl, triton
from moe_teach.types import Dispatched


def combine_triton(y: Tensor, gates: Tensor, dispatched: Dispatched) -> Tensor:
    """Each token collects its rows, weighted."""
    return _Combine.apply(y, gates, dispatched.slot)


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(y, gates, slot)
        return collect(y, slot, gates)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor) -> tuple[Tensor | None, ...]:
        y, gates, slot = ctx.saved_tensors
        return *combine_backward(dout, y, gates, slot, wanted=ctx.needs_input_grad[:2]), None


def combine_backward(
    dout: Tensor,
    y: Tensor,
    gates: Tensor,
    slot: Tensor,
    *,
    wanted: tuple[bool, bool] = (True, True),
    choices: int | None = None,
    columns: int | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """Give the gradients of the answers (N, D) and of the gates (T, K), those that are wanted.

    A dropped gate has gradient 0. Rows of `y` that no slot names get no gradient: what stands in
    memory there.
    """
    dy, dgates = (
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if is_wanted else None
        for tensor, is_wanted in zip((y, gates), wanted, strict=True)
    )
    if y.numel() and slot.numel():
        _launch(dout, y, gates, slot, dy, dgates, choices, columns)
    elif dgates is not None:
        dgates.zero_()
    return dy, dgates


def _launch(
    dout: Tensor,
    y: Tensor,
    gates: Tensor,
    slot: Tensor,
    dy: Tensor | None,
    dgates: Tensor | None,
    choices: int | None = None,
    columns: int | None = None,
) -> None:
    demand_float(dout=dout, y=y, gates=gates)
    demand_launchable(y=y, slot=slot)
    n_choices, width = slot.numel(), y.shape[-1]
    tile = row_tile(n_choices, width)
    choices, columns = choices or tile[0], columns or tile[1]
    _combine_backward[(triton.cdiv(n_choices, choices),)](
        dout,
        y,
        gates.contiguous(),
        slot.contiguous(),
        dy,
        dgates,
        *dout.stride(),
        *y.stride(),
        n_choices,
        width,
        TOP_K=slot.shape[-1],
        SUM=sum_dtype(dout, y, gates),
        CHOICES=choices,
        COLUMNS=columns,
        num_warps=4,
    )


@triton.jit
def _combine_backward(
    dout, y, gates, slot, dy, dgates, dout_row, dout_column, y_row, y_column, n_choices, width,
    TOP_K: tl.constexpr, SUM: tl.constexpr, CHOICES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A program owns some choices: their rows of `dy`, all columns, and their `dgates`."""
    choice = tl.program_id(0) * CHOICES + tl.arange(0, CHOICES)
    row = tl.load(slot + choice, choice < n_choices, other=-1).to(tl.int64)[:, None]
    gate = tl.load(gates + choice, choice < n_choices, other=0.0).to(SUM)[:, None]
    token = (choice // TOP_K).to(tl.int64)[:, None]
    products = tl.zeros((CHOICES, COLUMNS), SUM)
    for begin in range(0, width, COLUMNS):
        column = (begin + tl.arange(0, COLUMNS)).to(tl.int64)[None, :]
        is_read = (row >= 0) & (column < width)
        arriving = tl.load(dout + token * dout_row + column * dout_column, is_read, other=0.0)
        arriving = arriving.to(SUM)
        if dgates is not None:
            answer = tl.load(y + row * y_row + column * y_column, is_read, other=0.0)
            products += arriving * answer.to(SUM)
        if dy is not None:
            leaving = (gate * arriving).to(dy.dtype.element_ty)
            tl.store(dy + row * width + column, leaving, is_read)
    if dgates is not None:
        dgate = tl.sum(products, axis=1).to(dgates.dtype.element_ty)
        tl.store(dgates + choice, dgate, choice < n_choices)
