"""The parts that every grouped kernel is made of: the map of tiles, and the walk along K.

The map says which expert owns a tile of rows, and where the tile begins.

    rows     0 1 2 3 4 | 5 | 6 7 8 9 10 11        three experts, expert_offsets 5, 6, 12
    tiles    [0    ][1 ] [2] [3      ][4  ]       block_m = 4: no tile holds rows of two experts
    expert    0     0    1   2       2
    row       0     4    5   6       10

How many tiles there are depends on the routing. The host does not wait to learn it: it launches as
many as there could be, and the surplus ones carry the number after the last expert and return.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.ops.tiles import tiles_for
from moe_teach.ops.triton_host import INTERPRETED, tl, triton

_MOST_COMPARISONS = 2**13  # of one program: its tiles times the experts


@dataclass(frozen=True, slots=True)
class TileMap:
    """One entry per tile that could be needed, int32: its expert (or E) and its first row."""

    expert: Tensor
    row: Tensor
    ends: Tensor
    n_tiles: int
    block_m: int


@dataclass(frozen=True, slots=True)
class Ragged:
    """N rows sorted by expert, standing ready or still to be gathered from their tokens.

    `n_rows` may be more than there are: the ends in `tiles` say on the device how many. With
    `pair` (N,), row n is token `pair[n] // top_k`, and its answer weighs
    `gates.flatten()[pair[n]]`. Without, row n stands at place n and weighs 1.
    """

    tiles: TileMap
    n_rows: int
    pair: Tensor | None = None
    gates: Tensor | None = None
    top_k: int = 1

    @classmethod
    def cut(
        cls,
        ends: Tensor,
        n_rows: int,
        w_up: Tensor,
        pair: Tensor | None = None,
        gates: Tensor | None = None,
    ) -> "Ragged":
        """Cut the rows into tiles, once for all kernels of a pass."""
        tiles = map_tiles(ends, n_rows, tiles_for(n_rows, w_up, "double").block_m)
        if gates is None:
            return cls(tiles, n_rows)
        return cls(tiles, n_rows, pair, gates.contiguous(), gates.shape[1])


def most_tiles(n_rows: int, n_experts: int, block_m: int) -> int:
    """Bound the number of tiles: every expert that has rows wastes at most block_m - 1 of them."""
    return (n_rows + min(n_experts, n_rows) * (block_m - 1)) // block_m


def map_tiles(expert_offsets: Tensor, n_rows: int, block_m: int) -> TileMap:
    """Cut each expert's slice into tiles of `block_m` rows, without asking the device anything."""
    ends = expert_offsets.to(torch.int32).contiguous()
    n_experts, device = len(ends), ends.device
    n_tiles = most_tiles(n_rows, n_experts, block_m)
    # Both begin at a multiple of 16 bytes, whatever their number, so that one binary serves all.
    expert, row = torch.empty(2, n_tiles + -n_tiles % 4, dtype=torch.int32, device=device)
    expert, row = expert[:n_tiles], row[:n_tiles]
    tile_map = TileMap(expert, row, ends, n_tiles, block_m)
    if not n_tiles:
        return tile_map
    lanes = triton.next_power_of_2(n_experts)
    block = min(triton.next_power_of_2(n_tiles), max(1, _MOST_COMPARISONS // lanes))
    map_tiles_kernel[(triton.cdiv(n_tiles, block),)](
        ends, expert, row, n_experts, n_tiles, BLOCK_M=block_m, EXPERTS=lanes, TILES=block
    )
    return tile_map


@triton.jit(do_not_specialize=["n_tiles"])
def map_tiles_kernel(
    ends, tile_expert, tile_row, n_experts, n_tiles,
    BLOCK_M: tl.constexpr, EXPERTS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Program b writes the entries of TILES tiles; it looks at all experts for each of them."""
    expert = tl.arange(0, EXPERTS)
    exists = expert < n_experts
    end = tl.load(ends + expert, mask=exists, other=0)
    start = tl.load(ends + expert - 1, mask=exists & (expert > 0), other=0)
    tiles = (end - start + BLOCK_M - 1) // BLOCK_M
    tile_end = tl.cumsum(tiles, 0)

    tile = tl.program_id(0) * TILES + tl.arange(0, TILES)
    # As many experts as have all their tiles before this one.
    owner = tl.sum((tile_end[None, :] <= tile[:, None]).to(tl.int32), axis=1)
    is_owner = expert[None, :] == owner[:, None]
    skipped = tl.sum(tl.where(is_owner, (tile_end - tiles)[None, :], 0), axis=1)
    first = tl.sum(tl.where(is_owner, start[None, :], 0), axis=1)

    fits = tile < n_tiles
    tl.store(tile_expert + tile, tl.minimum(owner, n_experts), mask=fits)
    tl.store(tile_row + tile, first + (tile - skipped) * BLOCK_M, mask=fits)


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
