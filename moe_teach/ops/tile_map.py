"""Which expert owns a tile of rows, and where the tile begins.

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

from moe_teach.ops.triton_host import tl, triton

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
