"""The parts that every grouped kernel is made of: which tile is mine, and the walk along K."""

import torch
from torch import Tensor

from moe_teach.ops.triton_host import INTERPRETED, tl, triton


def dot_precision(dtype: torch.dtype) -> str:
    """Say how float32 is multiplied: as torch is told to do it, in full by default.

    "tf32" rounds the factors to 10 bits of mantissa, so that tensor cores can multiply them.
    """
    if dtype != torch.float32:
        return "ieee"
    switch = torch.backends.cuda.matmul
    # Newer releases of torch refuse the old question once the new switch was touched.
    wants_tf32 = (
        switch.fp32_precision == "tf32" if hasattr(switch, "fp32_precision") else switch.allow_tf32
    )
    return "tf32" if wants_tf32 else "ieee"


def with_whole_rows(rows: Tensor) -> Tensor:
    """Copy a matrix whose rows do not lie in one piece; the rows themselves may stand anywhere.

    So the kernels need 64-bit places for the first element of a row only.
    """
    return rows if rows.stride(1) == 1 else rows.contiguous()


@triton.jit
def my_tile(program, n_tiles, n_columns, GROUP_M: tl.constexpr):
    """Give a program's tile of rows and block of columns.

    GROUP_M neighbouring tiles take the first block of columns, then all of them the second, and so
    on: programs that run at one time read few different rows and few different weights.
    """
    per_group = GROUP_M * n_columns
    first = program // per_group * GROUP_M
    height = tl.minimum(n_tiles - first, GROUP_M)
    place = program % per_group
    return first + place % height, place // height


@triton.jit
def locate(
    tile_expert, tile_row, ends, n_experts, n_tiles, n_columns,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """Give this program's expert, the first row and column of its tile, and which rows exist.

    A surplus tile gets the number after the last expert, and none of its rows exists.
    """
    tile, block = my_tile(tl.program_id(0), n_tiles, tl.cdiv(n_columns, BLOCK_N), GROUP_M)
    expert = tl.load(tile_expert + tile)
    end = tl.load(ends + expert, mask=expert < n_experts, other=0)
    first_row = tl.load(tile_row + tile)
    exists = first_row + tl.arange(0, BLOCK_M) < end
    # In 64 bits, because expert x matrix and row x width can pass 2**31.
    return expert.to(tl.int64), first_row.to(tl.int64), block * BLOCK_N, exists


@triton.jit
def row_of(row, pair, top_k, exists):
    """Say where a routed row stands: here, or in the table of tokens that the pair points to."""
    if pair is not None:
        row = tl.load(pair + row, mask=exists, other=0) // top_k
    return row.to(tl.int64)  # rows x width can pass 2**31


@triton.jit
def take(source, first_row, first_column, exists, width, COLUMNS: tl.constexpr):
    """Load a tile of a matrix of this width, in float32; zeros beyond its edges."""
    column = first_column + tl.arange(0, COLUMNS)
    # Only the first row's place can pass 2**31. Numbers of 32 bits for the rest spare registers.
    here = tl.arange(0, exists.shape[0])[:, None] * width + column[None, :]
    mask = exists[:, None] & (column < width)[None, :]
    return tl.load(source + first_row * width + here, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def put(target, values, first_row, first_column, exists, width):
    """Store a tile in a matrix of this width, in the matrix's dtype, if there is such a matrix."""
    if target is not None:
        column = first_column + tl.arange(0, values.shape[1])
        here = tl.arange(0, values.shape[0])[:, None] * width + column[None, :]
        mask = exists[:, None] & (column < width)[None, :]
        values = values.to(target.dtype.element_ty)
        tl.store(target + first_row * width + here, values, mask=mask)


@triton.jit
def product(left, right, acc, PRECISION: tl.constexpr):
    """Add left @ right to acc, in float32."""
    if INTERPRETED:  # NumPy has no bfloat16, and the interpreter would multiply its bits
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, acc, input_precision=PRECISION)


@triton.jit
def walk(
    left, right, exists, has_column, n_inner, stride_right, acc,
    BLOCK_K: tl.constexpr, EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add rows times columns to acc, BLOCK_K inner elements at a time.

    `left` points to the first element of each row, (BLOCK_M, 1), whose elements lie side by side;
    `right` to that of each column, (1, BLOCK_N). Those beyond the edge are read as zeros.
    """
    for start in range(0, n_inner, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        row_mask, column_mask = exists[:, None], has_column[None, :]
        if not EVEN_K:
            row_mask = row_mask & (inner < n_inner)[None, :]
            column_mask = column_mask & (inner < n_inner)[:, None]
        a = tl.load(left + inner[None, :], mask=row_mask, other=0.0)
        b = tl.load(right + inner[:, None] * stride_right, mask=column_mask, other=0.0)
        acc = product(a, b, acc, PRECISION)
    return acc
