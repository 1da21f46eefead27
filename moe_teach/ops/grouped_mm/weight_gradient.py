"""The gradient of each expert's matrix: a product over the rows that the expert owns.

    dw[e, f, d] = sum over the rows n of expert e of dout[n, f] * rows[n, d]

One program owns BLOCK_M x BLOCK_N elements of one expert's gradient and walks through that
expert's rows, BLOCK_K of them at a time. Nobody else adds to these elements, so there are no
atomics and the sum has one order. An expert without rows writes zeros.
"""

from dataclasses import replace

import torch
from torch import Tensor

from moe_teach.ops.tile_product import dot_precision, my_tile, product, row_of, with_whole_rows
from moe_teach.ops.tiles import fitting_tiles
from moe_teach.ops.triton_host import tl, triton


def weight_gradient(
    left: Tensor,
    right: Tensor,
    expert_offsets: Tensor,
    *,
    left_pair: Tensor | None = None,
    right_pair: Tensor | None = None,
    top_k: int = 1,
) -> Tensor:
    """Sum `left[n] outer right[n]` over each expert's rows: (N, F) and (N, D) to (E, F, D).

    With a `..._pair` (N,) the operand holds one row per token, and row n of the routed rows is
    its row `pair[n] // top_k`: it is read where it stands, no sorted copy is made.
    """
    left, right = with_whole_rows(left), with_whole_rows(right)
    n_experts, n_left, n_right = len(expert_offsets), left.shape[1], right.shape[1]
    dw = left.new_empty(n_experts, n_left, n_right)
    if not dw.numel():
        return dw
    n_rows = len(right if right_pair is None else right_pair)
    steps = -(-n_rows // n_experts)
    tiles = fitting_tiles("outer", left.device, left.dtype, n_left, n_right, steps)
    if left_pair is not None or right_pair is not None:
        # Two loads follow one another, index and row, and the pipeline's depth is shared by them.
        tiles = replace(tiles, num_stages=2 * tiles.num_stages - 1)
    blocks = triton.cdiv(n_left, tiles.block_m) * triton.cdiv(n_right, tiles.block_n)
    weight_gradient_kernel[(n_experts * blocks,)](
        left, right, dw, expert_offsets.to(torch.int32).contiguous(), left_pair, right_pair,
        top_k, n_left, n_right, left.stride(0), right.stride(0),
        PRECISION=dot_precision(left.dtype), **tiles.launch(),
    )  # fmt: skip
    return dw


@triton.jit
def weight_gradient_kernel(
    left, right, dw, ends, left_pair, right_pair, top_k, n_left, n_right,
    stride_ln, stride_rn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute BLOCK_M x BLOCK_N elements of one expert's gradient."""
    n_down, n_across = tl.cdiv(n_left, BLOCK_M), tl.cdiv(n_right, BLOCK_N)
    expert = tl.program_id(0) // (n_down * n_across)
    place = tl.program_id(0) % (n_down * n_across)
    down, across = my_tile(place, n_down, n_across, GROUP_M)
    start = tl.load(ends + expert - 1, mask=expert > 0, other=0)
    end = tl.load(ends + expert)
    f = down * BLOCK_M + tl.arange(0, BLOCK_M)
    d = across * BLOCK_N + tl.arange(0, BLOCK_N)

    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(start, end, BLOCK_K):
        row = first + tl.arange(0, BLOCK_K)
        is_mine = row < end  # both sides: zero times a neighbour's NaN would be NaN
        a_row = row_of(row, left_pair, top_k, is_mine)
        b_row = row_of(row, right_pair, top_k, is_mine)
        a = left + a_row[None, :] * stride_ln + f[:, None]
        b = right + b_row[:, None] * stride_rn + d[None, :]
        a = tl.load(a, mask=(f < n_left)[:, None] & is_mine[None, :], other=0.0)
        b = tl.load(b, mask=is_mine[:, None] & (d < n_right)[None, :], other=0.0)
        acc = product(a, b, acc, PRECISION)

    here = expert.to(tl.int64) * n_left * n_right + f[:, None] * n_right + d[None, :]
    mask = (f < n_left)[:, None] & (d < n_right)[None, :]
    tl.store(dw + here, acc.to(dw.dtype.element_ty), mask=mask)
