"""Exercise 10.8: grouped kernels, right ones and wrong ones, for a test to tell apart.

All are one kernel with one slip each. None of them reaches outside its tensors, so a test that does
not watch is not in danger either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.answer_parts import slip

Multiply = Callable[[Tensor, Tensor, Tensor], Tensor]
# Blocks of rows, F and D. Each program takes the interpreter milliseconds: they are small only
# where a fault shows in blocks of columns, or in a sum that is made in several steps.
WIDE, COLUMNS, STEPS = (16, 32, 32), (16, 16, 32), (16, 16, 16)
ROOM = 64  # entries of the tables of tiles; those past the last tile have no rows

KERNEL = """
@triton.jit
def numbered_kernel(
    rows_ptr, w_ptr, out_ptr, expert_ptr, begin_ptr, end_ptr, n_tiles, n_columns, n_rows, D, F,
    stride_e, stride_f, stride_d,
    BLOCK_N: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    p = tl.program_id(0)
    t, j = p % n_tiles, p // n_tiles
    e = tl.load(expert_ptr + t).to(tl.int64)
    n = tl.load(begin_ptr + t).to(tl.int64) + tl.arange(0, BLOCK_N)
    f = j * BLOCK_F + tl.arange(0, BLOCK_F)
    row, column, lane = n[:, None], f[None, :], tl.arange(0, BLOCK_D)
    is_row, is_f = row < tl.load(end_ptr + t), column < F
    in_rows = rows_ptr + row * D
    in_w = w_ptr + e * stride_e + column * stride_f
    acc = tl.full((BLOCK_N, BLOCK_F), 0.0, tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + lane
        across, down = d[None, :], d[:, None]
        rows = tl.load(in_rows + across, mask=is_row & (across < D), other=0.0)
        w = tl.load(in_w + down * stride_d, mask=is_f & (down < D), other=0.0)
        acc += tl.dot(rows, w, input_precision="ieee")
    tl.store(out_ptr + row * F + column, acc, mask=is_row & is_f)
"""


@dataclass(frozen=True)
class Suspect:
    """One way of multiplying; a wrong one with `excuse`, where it is right, and what shows it."""

    multiply: Multiply
    excuse: str = ""
    shown_by: str = ""


def _tiles(expert_offsets: Tensor, block: int) -> list[tuple[int, int, int]]:
    ends = [0, *expert_offsets.tolist()]
    return [
        (e, first, min(first + block, end))
        for e, (begin, end) in enumerate(pairwise(ends))
        for first in range(begin, end, block)
    ]


def _renumbered(expert_offsets: Tensor, block: int) -> list[tuple[int, int, int]]:
    """Number the experts by their order among those that have rows."""
    tiles = _tiles(expert_offsets, block)
    known = {e: i for i, e in enumerate(sorted({tile[0] for tile in tiles}))}
    return [(known[e], begin, end) for e, begin, end in tiles]


def _by_tile(expert_offsets: Tensor, block: int) -> list[tuple[int, int, int]]:
    """Take the number of the tile for that of its expert."""
    last = len(expert_offsets) - 1
    return [(min(t, last), *tile[1:]) for t, tile in enumerate(_tiles(expert_offsets, block))]


def _up(width: int, block: int) -> int:
    return -(-width // block)


def _down(width: int, block: int) -> int:
    return max(1, width // block)


def launched(
    *changes: tuple[str, str],
    tiles: Callable[[Tensor, int], Any] = _tiles,
    columns: Callable[[int, int], int] = _up,
    blocks: tuple[int, int, int] = WIDE,
) -> Multiply:
    """Give a way of multiplying by the kernel after some changes of its source."""
    kernel = _built(*changes)

    def multiply(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
        (n_rows, d_model), d_ff = rows.shape, w.shape[1]
        found = tiles(expert_offsets, blocks[0])
        table = torch.zeros(3, ROOM, dtype=torch.int32)
        table[:, : len(found)] = torch.tensor(found, dtype=torch.int32).view(-1, 3).T
        n_tiles, n_columns = len(found), columns(d_ff, blocks[1])
        out = torch.full((n_rows, d_ff), float("nan"), dtype=rows.dtype)
        sizes = (n_tiles, n_columns, n_rows, d_model, d_ff, *w.stride(), *blocks)
        kernel[(n_tiles * n_columns,)](rows.contiguous(), w, out, *table.unbind(), *sizes)
        return out

    return multiply


@cache
def _built(*changes: tuple[str, str]) -> Any:
    """Build the kernel once: the interpreter rewrites each one that it has not met."""
    return slip(KERNEL, *changes)


def _library(rows: Tensor, w: Tensor, expert_offsets: Tensor) -> Tensor:
    from moe_teach.ops.grouped_mm import grouped_mm

    return grouped_mm(rows, w, expert_offsets, backend="triton")


HALF = ('acc += tl.dot(rows, w, input_precision="ieee")',
        'acc = (acc + tl.dot(rows, w, input_precision="ieee")).to(rows_ptr.dtype.element_ty)'
        ".to(tl.float32)")  # fmt: skip


def right() -> dict[str, Suspect]:
    """Build the right kernels, by what is unusual about them."""
    backwards = ("d = start +", "d = (D - 1) // BLOCK_D * BLOCK_D - start +")
    return {
        "as in the lesson": Suspect(launched(blocks=COLUMNS)),
        "with tiles of 8 rows and 32 columns": Suspect(launched(blocks=(8, 32, 16))),
        "that adds up from the last step to the first": Suspect(launched(backwards, blocks=STEPS)),
        "of the library": Suspect(_library),
    }


def shown() -> Suspect:
    """Build the kernel that the text of the exercise shows."""
    mixed_up = ("t, j = p % n_tiles, p // n_tiles", "t, j = p % n_columns, p // n_tiles")
    wrong = launched(mixed_up, blocks=COLUMNS)
    return Suspect(wrong, "there are as many tiles as blocks of columns", "three tiles and F = 56")


def wrong_numbers() -> list[Suspect]:
    """Build kernels that somebody's numbers show to be wrong."""
    short = ("range(0, D, BLOCK_D)", "range(0, D - BLOCK_D + 1, BLOCK_D)")
    plain = ("column * stride_f", "column * D"), ("down * stride_d", "down")
    return [
        Suspect(launched(short, blocks=STEPS), "D is a multiple of the step", "D = 20"),
        Suspect(launched(*plain), "w lies in memory as it is numbered", "a w stored turned round"),
        Suspect(launched(tiles=_renumbered), "every expert has rows", "rows for 20, 0, 3"),
        Suspect(launched(tiles=_by_tile), "no expert has more than a tile", "rows for 20, 0, 3"),
        Suspect(launched(columns=_down, blocks=COLUMNS), "F is a multiple of the block", "F = 56"),
    ]


def broken_sums() -> list[Suspect]:
    """Build kernels that need narrow numbers to be found out."""
    return [
        Suspect(
            launched(HALF, blocks=STEPS), "the inputs are float32", "float16, and sums above 65,504"
        )
    ]


def right_numbers() -> list[Suspect]:
    """Build kernels that are wrong on a GPU, and right in the interpreter to the last bit."""
    mine = "row < tl.load(end_ptr + t)"
    greedy = (mine, "(row < n_rows) & (tl.load(end_ptr + t) > 0)")
    return [
        Suspect(launched(greedy), "programs run one after another", "`seen.races()`"),
        Suspect(
            launched((', input_precision="ieee"', "")),
            "nobody cuts a float32 to 10 bits",
            "`seen.narrow_dots`",
        ),
    ]
