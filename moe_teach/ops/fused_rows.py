"""Rows from tokens to experts and back, as Triton kernels.

A token's choices name the rows that are its own, `slot[t, k]`, so one picture serves both ways.
A program owns some tokens and some columns, and walks over the K choices:

    spread    x[t, columns]  --->  rows[slot[t, k], columns]      read once, written K times
    collect   rows[slot[t, k], columns]  --->  out[t, columns]    K rows summed, written once

No two tokens share a row, so nobody writes what somebody else writes: no atomics, and the same
sum in every run. Rows can be so many that row times width passes 2^31: such offsets are computed
in 64 bits. A slot of -1 (a dropped choice) is neither written nor read. Nothing is checked here:
the operations check what they are given, once.
"""

from typing import Any

import torch
from torch import Tensor

from moe_teach.ops.triton_host import INTERPRETED, tl, triton

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def spread(
    x: Tensor, slot: Tensor, n_rows: int, gates: Tensor | None = None, **tile: int
) -> Tensor:
    """Copy every token to the rows of its choices, times its gate if there are gates.

    Args:
        x: (T, D).
        slot: (T, K); row of each choice, or -1.
        n_rows: the length of the result; rows that no slot names are left as they are in memory.
        gates: (T, K), a factor for each copy.
        **tile: `tokens` and `columns` of one program, powers of two.

    Returns:
        (n_rows, D) in the dtype of `x`.
    """
    rows = x.new_empty(n_rows, x.shape[-1])
    if x.numel() and n_rows:
        launch(_spread, x, rows, slot, gates, **tile)
    return rows


def collect(rows: Tensor, slot: Tensor, gates: Tensor | None = None, **tile: int) -> Tensor:
    """Sum the rows of each token, weighted by its gates if there are gates.

    Sums are kept in float32 (float64 for float64 rows) and rounded once.

    Args:
        rows: (N, D).
        slot: (T, K); row of each choice, or -1.
        gates: (T, K); they may be more precise than the rows.
        **tile: `tokens` and `columns` of one program, powers of two.

    Returns:
        (T, D) in the dtype of `rows`; zeros for a token without rows.
    """
    out = rows.new_empty(len(slot), rows.shape[-1])
    if not rows.numel():
        return out.zero_()
    if out.numel():
        launch(_collect, rows, out, slot, gates, **tile)
    return out


def sum_dtype(*tensors: Tensor | None) -> tl.dtype:
    """Return the dtype in which a kernel adds: float32, and float64 for float64."""
    is_double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return tl.float64 if is_double else tl.float32


def row_tile(n_rows: int, width: int) -> tuple[int, int]:
    """Choose rows and columns of one program for kernels that only move memory.

    Compiled, one row of 1024 columns is eight 2-byte numbers, 16 bytes, for each of 128 threads,
    and there are enough programs to fill a GPU at once. Interpreted, every program costs some
    20 ms whatever it does.
    """
    if INTERPRETED.value:
        return min(64, triton.next_power_of_2(n_rows)), min(1024, triton.next_power_of_2(width))
    columns = max(128, min(1024, triton.next_power_of_2(width)))
    return (1 if n_rows <= 4096 else 1024 // columns), columns


def launch(
    kernel: Any,
    source: Tensor,
    target: Tensor,
    slot: Tensor,
    gates: Tensor | None,
    tokens: int | None = None,
    columns: int | None = None,
) -> None:
    """Let one kernel of this module fill `target`, a contiguous tensor that is not empty."""
    n_tokens, width = len(slot), source.shape[-1]
    chosen_tokens, chosen_columns = row_tile(n_tokens, width)
    tokens, columns = tokens or chosen_tokens, columns or chosen_columns
    grid = (triton.cdiv(n_tokens, tokens), triton.cdiv(width, columns))
    kernel[grid](
        source,
        target,
        slot.contiguous(),
        None if gates is None else gates.contiguous(),
        source.stride(0),
        source.stride(1),
        n_tokens,
        width,
        TOP_K=slot.shape[-1],
        SUM=sum_dtype(source, gates),
        TOKENS=tokens,
        COLUMNS=columns,
        num_warps=4,
    )


@triton.jit
def _spread(
    x, rows, slot, gates, x_row, x_column, n_tokens, width,
    TOP_K: tl.constexpr, SUM: tl.constexpr, TOKENS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A program owns a tile (tokens, columns) of `x` and all its copies in `rows`."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    exists = token < n_tokens
    place = token.to(tl.int64)[:, None] * x_row + column.to(tl.int64) * x_column
    values = tl.load(x + place, exists[:, None] & (column < width), other=0.0)
    for k in tl.static_range(TOP_K):
        row = tl.load(slot + token * TOP_K + k, exists, other=-1).to(tl.int64)
        copy = values
        if gates is not None:
            gate = tl.load(gates + token * TOP_K + k, exists, other=0.0).to(SUM)
            copy = (values.to(SUM) * gate[:, None]).to(rows.dtype.element_ty)
        tl.store(rows + row[:, None] * width + column, copy, (row >= 0)[:, None] & (column < width))


@triton.jit
def _collect(
    rows, out, slot, gates, rows_row, rows_column, n_tokens, width,
    TOP_K: tl.constexpr, SUM: tl.constexpr, TOKENS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A program owns a tile (tokens, columns) of `out` and reads the rows of its tokens."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    exists = token < n_tokens
    total = tl.zeros((TOKENS, COLUMNS), SUM)
    for k in tl.static_range(TOP_K):
        row = tl.load(slot + token * TOP_K + k, exists, other=-1).to(tl.int64)
        place = row[:, None] * rows_row + column.to(tl.int64) * rows_column
        values = tl.load(rows + place, (row >= 0)[:, None] & (column < width), other=0.0).to(SUM)
        if gates is not None:
            gate = tl.load(gates + token * TOP_K + k, exists, other=0.0).to(SUM)
            values *= gate[:, None]
        total += values
    place = token.to(tl.int64)[:, None] * width + column
    tl.store(out + place, total.to(out.dtype.element_ty), exists[:, None] & (column < width))
