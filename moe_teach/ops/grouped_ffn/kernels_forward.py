"""The experts forward, as two kernels: gather, multiply up, activate; then multiply down and weigh.

          columns of w_up[e] and w_gate[e]     One program owns BLOCK_M rows of one expert times
          +---------+---------+                BLOCK_N of its inner features. Each step along D
     e=0  | p0      | p1      |                reads the rows once and multiplies them with both
    rows  |  silu(gate) * up  |                matrices. The activation is applied to the two
          +---------+---------+                sums while they are still in registers, so that
     e=1  | p2      | p3      |                `up` and `gate` travel to memory only if a
          +---------+---------+                backward pass will want them.

If the rows are still with their tokens, they are read from there: no sorted copy is written.

    y[n] = gate of row n * (w_down[e] @ inner[n])

The gate weight is one multiplication on sums that are still in registers. Applied later it would
cost a pass over all answers.
"""

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.tile_product import (
    Ragged,
    dot_precision,
    locate,
    product,
    put,
    row_of,
    walk,
    with_whole_rows,
)
from moe_teach.ops.tiles import tiles_for
from moe_teach.ops.triton_host import tl, triton


def inner_rows(
    x: Tensor,
    w_up: Tensor,
    w_gate: Tensor | None,
    ragged: Ragged,
    activation: Activation,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compute `activate(w_up[e] @ row, w_gate[e] @ row)` for every row: (N, F) in the dtype of x.

    With `keep`, the rows before the activation come along, `up` and (SwiGLU) `gate`.
    """
    n_experts, n_out, n_in = w_up.shape
    x = with_whole_rows(x)
    inner = x.new_empty(ragged.n_rows, n_out)
    up = torch.empty_like(inner) if keep else None
    gate = torch.empty_like(inner) if keep and w_gate is not None else None
    if not inner.numel():
        return inner, up, gate
    tiles = tiles_for(ragged.n_rows, w_up, "double")
    tile_map, tiles = ragged.tiles, tiles.of_height(ragged.tiles.block_m)
    up_kernel[(tile_map.n_tiles * triton.cdiv(n_out, tiles.block_n),)](
        x, ragged.pair, w_up, w_gate, inner, up, gate,
        tile_map.expert, tile_map.row, tile_map.ends, ragged.top_k,
        n_experts, tile_map.n_tiles, n_out, n_in,
        x.stride(0), *w_up.stride(), *((0, 0, 0) if w_gate is None else w_gate.stride()),
        ACTIVATION=activation, EVEN_K=n_in % tiles.block_k == 0,
        PRECISION=dot_precision(x.dtype), **tiles.launch(),
    )  # fmt: skip
    return inner, up, gate


@triton.jit(do_not_specialize=["n_tiles"])
def up_kernel(
    x, pair, w_up, w_gate, inner, up, gate, tile_expert, tile_row, ends, top_k,
    n_experts, n_tiles, n_out, n_in, stride_xn,
    stride_ue, stride_uf, stride_ud, stride_ge, stride_gf, stride_gd,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    ACTIVATION: tl.constexpr, EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute BLOCK_M x BLOCK_N inner features of one expert."""
    expert, first_row, first_column, exists = locate(
        tile_expert, tile_row, ends, n_experts, n_tiles, n_out, BLOCK_M, BLOCK_N, GROUP_M
    )
    if expert >= n_experts:
        return
    row = first_row + tl.arange(0, BLOCK_M)
    column = first_column + tl.arange(0, BLOCK_N)
    rows = x + row_of(row, pair, top_k, exists)[:, None] * stride_xn
    ups = w_up + expert * stride_ue + column[None, :] * stride_uf
    gates = ups if w_gate is None else w_gate + expert * stride_ge + column[None, :] * stride_gf
    # The loop of `walk`, written out, because both products share the rows that a step has loaded.
    up_acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    gate_acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, n_in, BLOCK_K):
        d = start + tl.arange(0, BLOCK_K)
        row_mask, column_mask = exists[:, None], (column < n_out)[None, :]
        if not EVEN_K:
            row_mask = row_mask & (d < n_in)[None, :]
            column_mask = column_mask & (d < n_in)[:, None]
        a = tl.load(rows + d[None, :], mask=row_mask, other=0.0)
        b = tl.load(ups + d[:, None] * stride_ud, mask=column_mask, other=0.0)
        up_acc = product(a, b, up_acc, PRECISION)
        if w_gate is not None:
            b = tl.load(gates + d[:, None] * stride_gd, mask=column_mask, other=0.0)
            gate_acc = product(a, b, gate_acc, PRECISION)

    activated = activate(up_acc, gate_acc, ACTIVATION)
    put(inner, activated, first_row, first_column, exists, n_out)
    put(up, up_acc, first_row, first_column, exists, n_out)
    put(gate, gate_acc, first_row, first_column, exists, n_out)


@triton.jit
def activate(up, gate, ACTIVATION: tl.constexpr):
    """The activation between the two halves of an expert, in float32."""
    if ACTIVATION == "swiglu":
        inner = gate * tl.sigmoid(gate) * up
    elif ACTIVATION == "gelu":
        inner = 0.5 * up * (1.0 + tl.erf(up * 0.7071067811865476))
    else:
        inner = tl.where(up <= 0, 0.0, up)  # a NaN stays one
    return inner


def answers(inner: Tensor, w_down: Tensor, ragged: Ragged) -> Tensor:
    """Multiply inner rows (N, F) down to answers (N, D), weighted if there are gates."""
    n_experts, n_out, n_in = w_down.shape
    y = inner.new_empty(ragged.n_rows, n_out)
    if not y.numel():
        return y
    tiles = tiles_for(ragged.n_rows, w_down)
    tile_map, tiles = ragged.tiles, tiles.of_height(ragged.tiles.block_m)
    down_kernel[(tile_map.n_tiles * triton.cdiv(n_out, tiles.block_n),)](
        inner, w_down, ragged.pair, ragged.gates, y,
        tile_map.expert, tile_map.row, tile_map.ends,
        n_experts, tile_map.n_tiles, n_out, n_in, *w_down.stride(),
        EVEN_K=n_in % tiles.block_k == 0, PRECISION=dot_precision(inner.dtype), **tiles.launch(),
    )  # fmt: skip
    return y


@triton.jit(do_not_specialize=["n_tiles"])
def down_kernel(
    inner, w_down, pair, gates, y, tile_expert, tile_row, ends, n_experts, n_tiles, n_out, n_in,
    stride_we, stride_wd, stride_wf,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute BLOCK_M x BLOCK_N numbers of one expert's answers."""
    expert, first_row, first_column, exists = locate(
        tile_expert, tile_row, ends, n_experts, n_tiles, n_out, BLOCK_M, BLOCK_N, GROUP_M
    )
    if expert >= n_experts:
        return
    column = first_column + tl.arange(0, BLOCK_N)
    left = inner + first_row * n_in + tl.arange(0, BLOCK_M)[:, None] * n_in
    right = w_down + expert * stride_we + column[None, :] * stride_wd
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    acc = walk(
        left, right, exists, column < n_out, n_in, stride_wf, acc, BLOCK_K, EVEN_K, PRECISION
    )
    if gates is not None:
        row = first_row + tl.arange(0, BLOCK_M)
        acc *= weight_of(row, pair, gates, exists)[:, None]
    put(y, acc, first_row, first_column, exists, n_out)


@triton.jit
def weight_of(row, pair, gates, exists):
    """Give the gate of each row, in float32; 1 where rows have none."""
    weight = tl.where(exists, 1.0, 0.0)
    if gates is not None:
        place = tl.load(pair + row, mask=exists, other=0)
        weight = tl.load(gates + place, mask=exists, other=0.0).to(tl.float32)
    return weight
