"""The second half of the experts: multiply down, and weigh the answer where it is made.

    y[n] = gate of row n * (w_down[e] @ inner[n])

The gate weight is one multiplication on sums that are still in registers. Applied later it would
cost a pass over all answers.
"""

from torch import Tensor

from moe_teach.ops.grouped_ffn.ragged import Ragged
from moe_teach.ops.grouped_mm.fused import tiles_for
from moe_teach.ops.tile_product import dot_precision, locate, put, walk
from moe_teach.ops.triton_host import tl, triton


def answers(inner: Tensor, w_down: Tensor, ragged: Ragged) -> Tensor:
    """Multiply inner rows (N, F) down to answers (N, D), weighted if there are gates."""
    n_experts, n_out, n_in = w_down.shape
    y = inner.new_empty(ragged.n_rows, n_out)
    if not y.numel():
        return y
    tiles = tiles_for(ragged.n_rows, w_down)
    tile_map = ragged.tiles(tiles.block_m)
    down_kernel[(tile_map.n_tiles * triton.cdiv(n_out, tiles.block_n),)](
        inner, w_down, ragged.choice, ragged.gates, y,
        tile_map.expert, tile_map.row, tile_map.ends,
        n_experts, tile_map.n_tiles, n_out, n_in, *w_down.stride(),
        EVEN_K=n_in % tiles.block_k == 0, PRECISION=dot_precision(inner.dtype), **tiles.launch(),
    )  # fmt: skip
    return y


@triton.jit(do_not_specialize=["n_tiles"])
def down_kernel(
    inner, w_down, choice, gates, y, tile_expert, tile_row, ends, n_experts, n_tiles, n_out, n_in,
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
        acc *= weight_of(row, choice, gates, exists)[:, None]
    put(y, acc, first_row, first_column, exists, n_out)


@triton.jit
def weight_of(row, choice, gates, exists):
    """Give the gate of each row, in float32; 1 where rows have none."""
    weight = tl.where(exists, 1.0, 0.0)
    if gates is not None:
        place = tl.load(choice + row, mask=exists, other=0)
        weight = tl.load(gates + place, mask=exists, other=0.0).to(tl.float32)
    return weight
