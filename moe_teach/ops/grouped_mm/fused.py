"""The grouped matmul in Triton: no padded copy of the rows, no loop over experts on the host.

          columns of w[e]           One program owns one tile: up to BLOCK_M rows of *one* expert
          +----+----+----+          times BLOCK_N columns of the result. It finds its expert in the
     e=0  | p0 | p2 | p4 |          tile map, walks along the inner axis and keeps the sums in
    rows  +----+----+----+          float32. A tile that runs past its expert's last row reads
          | p1 | p3 | p5 |          zeros there and stores nothing.
     e=1  +----+----+----+
          | p6 | p7 | p8 |          The gradient of the rows is the same product with w transposed,
          +----+----+----+          which is a matter of strides. That of w sums over rows: see
                                    `weight_gradient.py`.

Saved for the backward pass: the operands, and nothing else.
"""

from torch import Tensor

from moe_teach.ops.demand import demand_operands
from moe_teach.ops.grouped_mm.weight_gradient import weight_gradient
from moe_teach.ops.operation import KERNEL_DTYPES
from moe_teach.ops.registered import registered
from moe_teach.ops.tile_product import dot_precision, locate, map_tiles, put, walk, with_whole_rows
from moe_teach.ops.tiles import tiles_for
from moe_teach.ops.triton_host import tl, triton


def grouped_mm_triton(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Multiply each expert's rows by its matrix; any strides, float32 sums, differentiable once.

    Raises:
        ValueError: for dtypes other than float32, bfloat16 and float16, or tensors that stand
            where kernels do not run.
    """
    demand_operands(KERNEL_DTYPES, rows=rows, w=w, expert_offsets=expert_offsets)
    return _grouped_mm(rows, w, expert_offsets)


def grouped_product(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    """Launch the kernel: `out[n] = w[e] @ rows[n]`. Writes N * F numbers of the rows' dtype."""
    (n_rows, n_in), (n_experts, n_out, _) = rows.shape, w.shape
    rows = with_whole_rows(rows)
    out = rows.new_empty(n_rows, n_out)
    if not out.numel():
        return out
    tiles = tiles_for(n_rows, w)
    tile_map = map_tiles(expert_offsets, n_rows, tiles.block_m)
    grid = (tile_map.n_tiles * triton.cdiv(n_out, tiles.block_n),)
    grouped_mm_kernel[grid](
        rows, w, out, tile_map.expert, tile_map.row, tile_map.ends,
        n_experts, tile_map.n_tiles, n_out, n_in, rows.stride(0), *w.stride(),
        EVEN_K=n_in % tiles.block_k == 0, PRECISION=dot_precision(rows.dtype), **tiles.launch(),
    )  # fmt: skip
    return out


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, dout: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    rows, w, expert_offsets = ctx.saved_tensors
    dout = with_whole_rows(dout)
    wants_rows, wants_w, _ = ctx.needs_input_grad
    drows = _grouped_mm(dout, w.mT, expert_offsets) if wants_rows else None
    dw = _weight_gradient(dout, rows, expert_offsets) if wants_w else None
    return drows, dw, None


def _outer(left: Tensor, right: Tensor, expert_offsets: Tensor) -> Tensor:
    return weight_gradient(left, right, expert_offsets)


_grouped_mm = registered(
    "grouped_mm",
    grouped_product,
    lambda rows, w, expert_offsets: rows.new_empty(rows.shape[0], w.shape[1]),
    _save,
    _backward,
)
_weight_gradient = registered(
    "weight_gradient",
    _outer,
    lambda left, right, ends: left.new_empty(ends.shape[0], left.shape[1], right.shape[1]),
)


@triton.jit(do_not_specialize=["n_tiles"])
def grouped_mm_kernel(
    rows, w, out, tile_expert, tile_row, ends, n_experts, n_tiles, n_out, n_in,
    stride_rn, stride_we, stride_wf, stride_wd,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    EVEN_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute one tile: BLOCK_M rows of one expert times BLOCK_N of its columns."""
    expert, first_row, first_column, exists = locate(
        tile_expert, tile_row, ends, n_experts, n_tiles, n_out, BLOCK_M, BLOCK_N, GROUP_M
    )
    if expert >= n_experts:
        return
    column = first_column + tl.arange(0, BLOCK_N)
    left = rows + first_row * stride_rn + tl.arange(0, BLOCK_M)[:, None] * stride_rn
    right = w + expert * stride_we + column[None, :] * stride_wf
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    acc = walk(
        left, right, exists, column < n_out, n_in, stride_wd, acc, BLOCK_K, EVEN_K, PRECISION
    )
    put(out, acc, first_row, first_column, exists, n_out)
