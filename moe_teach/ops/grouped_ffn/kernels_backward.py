"""The experts backward, as two kernels: down, gates and activation; then up.

From the answers' gradient to the inner rows' gradients:

    open[n]     = w_down[e].T @ dout[n]                          what one unit of gate would pass on
    dgates[n]   = open[n] . inner[n]                             a row-wise dot
    dup, dgate  = gates[n] * open[n] through the activation
    inner[n]    = the activation again, times gates[n]           what the gradient of w_down wants

One program owns BLOCK_M rows of one expert times BLOCK_N inner features, and does all four while
`open` is in registers. So neither the answers `y` nor the activation has to be kept from the
forward pass: the gate's gradient is taken before w_down instead of after it, which is the same
number (SonicMoE does it so). A dot over F is the sum of those over each block of columns; these
parts are written side by side and added afterwards, in one order.

Then both matrices of the first half send their share back to the rows:

    drows[n] = w_up[e].T @ dup[n] + w_gate[e].T @ dgate[n]

The two products are added in registers, so that the sum is rounded once and written once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.grouped_ffn.kernels_forward import activate, weight_of
from moe_teach.ops.tile_product import (
    Ragged,
    dot_precision,
    locate,
    put,
    row_of,
    take,
    walk,
    with_whole_rows,
)
from moe_teach.ops.tiles import tiles_for
from moe_teach.ops.triton_host import tl, triton


@dataclass(frozen=True, slots=True)
class InnerGradients:
    """What the kernel writes: (N, F) each, and the parts of the gates' gradients (blocks, N)."""

    inner: Tensor
    dup: Tensor
    dgate: Tensor | None
    parts: Tensor | None


def inner_gradients(
    dout: Tensor,
    w_down: Tensor,
    up: Tensor,
    gate: Tensor | None,
    ragged: Ragged,
    activation: Activation,
    *,
    wants_gates: bool = False,
) -> InnerGradients:
    """Take the gradient of the answers back through w_down, the gates and the activation.

    `dout` has one row per answer, or one per token if rows are gathered. For SwiGLU 3 * N * F
    numbers are written: `up` and `gate` of the forward pass stay as they are beside them, because
    somebody may ask for gradients twice.
    """
    n_experts, n_in, n_out = w_down.shape
    dout = with_whole_rows(dout)
    inner, dup = torch.empty_like(up), torch.empty_like(up)
    dgate = None if gate is None else torch.empty_like(gate)
    tiles = tiles_for(ragged.n_rows, w_down.mT, "double")
    blocks = triton.cdiv(n_out, tiles.block_n)
    parts = None
    if wants_gates:
        parts = torch.empty(blocks, ragged.n_rows, dtype=torch.float32, device=up.device)
    if not inner.numel():
        return InnerGradients(inner, dup, dgate, parts)
    tile_map, tiles = ragged.tiles, tiles.of_height(ragged.tiles.block_m)
    down_backward_kernel[(tile_map.n_tiles * blocks,)](
        dout, w_down, ragged.pair, ragged.gates, up, gate, inner, dup, dgate, parts,
        tile_map.expert, tile_map.row, tile_map.ends, ragged.top_k,
        n_experts, tile_map.n_tiles, n_out, n_in, ragged.n_rows, dout.stride(0), *w_down.stride(),
        ACTIVATION=activation, EVEN_K=n_in % tiles.block_k == 0,
        PRECISION=dot_precision(up.dtype), **tiles.launch(),
    )  # fmt: skip
    return InnerGradients(inner, dup, dgate, parts)


@triton.jit(do_not_specialize=["n_tiles", "n_rows"])
def down_backward_kernel(
    dout, w_down, pair, gates, up, gate, inner, dup, dgate, parts, tile_expert, tile_row, ends,
    top_k, n_experts, n_tiles, n_out, n_in, n_rows,
    stride_on, stride_we, stride_wd, stride_wf,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    ACTIVATION: tl.constexpr, EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of BLOCK_M x BLOCK_N inner features of one expert."""
    expert, first_row, first_column, exists = locate(
        tile_expert, tile_row, ends, n_experts, n_tiles, n_out, BLOCK_M, BLOCK_N, GROUP_M
    )
    if expert >= n_experts:
        return
    row = first_row + tl.arange(0, BLOCK_M)
    column = first_column + tl.arange(0, BLOCK_N)
    douts = dout + row_of(row, pair, top_k, exists)[:, None] * stride_on
    columns = w_down + expert * stride_we + column[None, :] * stride_wf
    opened = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    opened = walk(
        douts, columns, exists, column < n_out, n_in, stride_wd, opened,
        BLOCK_K, EVEN_K, PRECISION,
    )  # fmt: skip

    weight = weight_of(row, pair, gates, exists)
    half: tl.constexpr = BLOCK_N // 2
    left, right = tl.split(tl.permute(tl.reshape(opened, (BLOCK_M, 2, half)), (0, 2, 1)))
    part = finish(
        left, up, gate, inner, dup, dgate, weight, exists, first_row, first_column, n_out,
        ACTIVATION,
    )  # fmt: skip
    part += finish(
        right, up, gate, inner, dup, dgate, weight, exists, first_row, first_column + half, n_out,
        ACTIVATION,
    )  # fmt: skip
    if parts is not None:
        tl.store(parts + first_column // BLOCK_N * n_rows + row, part, mask=exists)


@triton.jit
def finish(
    opened, up, gate, inner, dup, dgate, weight, exists, first_row, first_column, n_out,
    ACTIVATION: tl.constexpr,
):  # fmt: skip
    """Take half of the columns through the activation; all of them at once would spill."""
    u = take(up, first_row, first_column, exists, n_out, opened.shape[1])
    g = u
    if gate is not None:
        g = take(gate, first_row, first_column, exists, n_out, opened.shape[1])
    a = activate(u, g, ACTIVATION)
    du, dg = activation_backward(opened * weight[:, None], u, g, ACTIVATION)
    put(inner, a * weight[:, None], first_row, first_column, exists, n_out)
    put(dup, du, first_row, first_column, exists, n_out)
    put(dgate, dg, first_row, first_column, exists, n_out)
    return tl.sum(opened * a, axis=1)


@triton.jit
def activation_backward(dinner, up, gate, ACTIVATION: tl.constexpr):
    """Give the gradients of `up` and `gate`, in float32; without a gate, the first one twice."""
    if ACTIVATION == "swiglu":
        opening = tl.sigmoid(gate)
        dup = dinner * gate * opening
        dgate = dinner * up * opening * (1.0 + gate * (1.0 - opening))
    elif ACTIVATION == "gelu":
        below = 0.5 * (1.0 + tl.erf(up * 0.7071067811865476))
        dup = dinner * (below + up * 0.3989422804014327 * tl.exp(-0.5 * up * up))
        dgate = dup
    else:
        dup = tl.where(up <= 0, 0.0, dinner)
        dgate = dup
    return dup, dgate


def rows_gradient(
    dup: Tensor, dgate: Tensor | None, w_up: Tensor, w_gate: Tensor | None, ragged: Ragged
) -> Tensor:
    """Multiply the inner gradients (N, F) back to the rows' gradients (N, D)."""
    n_experts, n_in, n_out = w_up.shape
    drows = dup.new_empty(ragged.n_rows, n_out)
    if not drows.numel():
        return drows
    tiles = tiles_for(ragged.n_rows, w_up.mT)
    tile_map, tiles = ragged.tiles, tiles.of_height(ragged.tiles.block_m)
    up_backward_kernel[(tile_map.n_tiles * triton.cdiv(n_out, tiles.block_n),)](
        dup, dgate, w_up, w_gate, drows, tile_map.expert, tile_map.row, tile_map.ends,
        n_experts, tile_map.n_tiles, n_out, n_in,
        *w_up.stride(), *((0, 0, 0) if w_gate is None else w_gate.stride()),
        EVEN_K=n_in % tiles.block_k == 0, PRECISION=dot_precision(dup.dtype), **tiles.launch(),
    )  # fmt: skip
    return drows


@triton.jit(do_not_specialize=["n_tiles"])
def up_backward_kernel(
    dup, dgate, w_up, w_gate, drows, tile_expert, tile_row, ends, n_experts, n_tiles, n_out, n_in,
    stride_ue, stride_uf, stride_ud, stride_ge, stride_gf, stride_gd,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute BLOCK_M x BLOCK_N numbers of the rows' gradient: one walk for each matrix."""
    expert, first_row, first_column, exists = locate(
        tile_expert, tile_row, ends, n_experts, n_tiles, n_out, BLOCK_M, BLOCK_N, GROUP_M
    )
    if expert >= n_experts:
        return
    column = first_column + tl.arange(0, BLOCK_N)
    place = first_row * n_in + tl.arange(0, BLOCK_M)[:, None] * n_in
    right = w_up + expert * stride_ue + column[None, :] * stride_ud
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    acc = walk(
        dup + place, right, exists, column < n_out, n_in, stride_uf, acc, BLOCK_K, EVEN_K, PRECISION
    )
    if w_gate is not None:
        right = w_gate + expert * stride_ge + column[None, :] * stride_gd
        acc = walk(
            dgate + place, right, exists, column < n_out, n_in, stride_gf, acc,
            BLOCK_K, EVEN_K, PRECISION,
        )  # fmt: skip
    put(drows, acc, first_row, first_column, exists, n_out)
