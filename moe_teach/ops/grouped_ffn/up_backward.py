"""The backward pass of the first half: both matrices send their share back to the rows.

    drows[n] = w_up[e].T @ dup[n] + w_gate[e].T @ dgate[n]

The two products are added in registers, so that the sum is rounded once and written once.
"""

from torch import Tensor

from moe_teach.ops.grouped_ffn.ragged import Ragged
from moe_teach.ops.grouped_mm.fused import tiles_for
from moe_teach.ops.tile_product import dot_precision, locate, put, walk
from moe_teach.ops.triton_host import tl, triton


def rows_gradient(
    dup: Tensor, dgate: Tensor | None, w_up: Tensor, w_gate: Tensor | None, ragged: Ragged
) -> Tensor:
    """Multiply the inner gradients (N, F) back to the rows' gradients (N, D)."""
    n_experts, n_in, n_out = w_up.shape
    drows = dup.new_empty(ragged.n_rows, n_out)
    if not drows.numel():
        return drows
    tiles = tiles_for(ragged.n_rows, w_up.mT)
    tile_map = ragged.tiles(tiles.block_m)
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
