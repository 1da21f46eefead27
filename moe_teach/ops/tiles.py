"""How large a piece of a grouped matmul one program of a kernel owns.

A program computes `block_m` rows times `block_n` columns and walks along the inner axis in steps
of `block_k`. The operands of `num_stages` steps lie in shared memory at once: at most 163 KB per
block on sm_80 and 227 KB on sm_90. **The tables have not been tuned on a GPU.** They follow from
that limit, from the accumulators that fit in registers (a 128 x 128 tile in float32 is 64 registers
of each thread of 8 warps), and from whole tensor-core instructions (steps of 32 or 64 in two-byte
numbers).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from moe_teach.ops.operation import kernels_compile

Work = Literal["product", "double", "outer"]
"""What registers hold: one product; two, or one and an activation; a sum over rows (dw)."""

SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024, 942: 64 * 1024}
"""Bytes that one block of threads can use: on NVIDIA's sm_80 and sm_90, and on AMD's gfx942."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Block sizes of one launch. All are powers of two, and none is under 16.

    `group_m` tiles walk through the columns together, so that the tiles of one expert read a block
    of its weights while it is still in the L2 cache.
    """

    block_m: int
    block_n: int
    block_k: int
    num_warps: int = 4
    num_stages: int = 3
    group_m: int = 8

    def launch(self) -> dict[str, int]:
        """Return the keyword arguments of a kernel's launch."""
        return {
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "BLOCK_K": self.block_k,
            "GROUP_M": self.group_m,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }

    def of_height(self, block_m: int) -> "Tiles":
        """Return these sizes for tiles that were cut already; kernels of one layer share a map."""
        return self if self.block_m == block_m else replace(self, block_m=block_m)

    def shared_bytes(self, work: Work, itemsize: int) -> int:
        """Estimate the shared memory of the operands in flight, in bytes."""
        columns = 2 * self.block_n if work == "double" else self.block_n
        return self.num_stages * (self.block_m + columns) * self.block_k * itemsize


_Table = dict[Work, dict[int, Tiles]]
# By the rows a tile has: 16 and 32 stream weights (decode), with several blocks of threads on a
# processor at once; 128 is for training and prefill.
_DECODE: _Table = {
    "product": {16: Tiles(16, 64, 128, 4, 4), 32: Tiles(32, 64, 128, 4, 4)},
    "double": {16: Tiles(16, 32, 128, 4, 4), 32: Tiles(32, 32, 128, 4, 4)},
}
_AMPERE: _Table = {
    "product": {64: Tiles(64, 128, 64, 4, 4), 128: Tiles(128, 128, 64, 8, 4)},
    "double": {64: Tiles(64, 64, 64, 4, 4), 128: Tiles(128, 64, 64, 8, 4)},
    "outer": {128: Tiles(128, 128, 64, 8, 3)},
}
_HOPPER: _Table = {
    "product": {64: Tiles(64, 128, 64, 4, 4), 128: Tiles(128, 256, 64, 8, 3)},
    "double": {64: Tiles(64, 128, 64, 8, 3), 128: Tiles(128, 128, 64, 8, 3)},
    "outer": {128: Tiles(128, 256, 64, 8, 3)},
}
# Float32 at full precision does not use tensor cores, and rows of odd widths are loaded number by
# number on their way through registers: small tiles keep those free.
_SMALL: dict[Work, Tiles] = {
    "product": Tiles(64, 64, 32, 4, 3),
    "double": Tiles(64, 32, 32, 4, 3),
    "outer": Tiles(64, 64, 32, 4, 3),
}
_MI300 = 942
_forced: list[tuple[Work | None, Tiles]] = []
_pretended: list[int] = []


@contextmanager
def forced(tiles: Tiles, work: Work | None = None) -> Iterator[None]:
    """Launch every grouped kernel inside the `with` with these block sizes (for tuning, tests).

    With `work` only the kernels of that kind.
    """
    # A plain list and not a context variable: autograd runs backward passes in its own threads.
    _forced.append((work, tiles))
    try:
        yield
    finally:
        _forced.pop()


@contextmanager
def as_on(generation: int) -> Iterator[None]:
    """Choose block sizes as on a GPU of generation 80, 90 or 942, wherever the tensors stand.

    The compile-only check of `moe_teach.bench` needs it, where there is no such GPU.
    """
    _pretended.append(generation)
    try:
        yield
    finally:
        _pretended.pop()


def fitting_tiles(
    work: Work, device: torch.device, dtype: torch.dtype, n_rows: int, *widths: int
) -> Tiles:
    """Look up the block sizes for this device, dtype and size.

    `n_rows` is the height of what the programs tile: the mean rows of an expert, or for "outer"
    the height of its gradient. `widths` are the columns and the inner axis. The interpreter pays
    for programs and for steps, not for numbers, and gets few of both.
    """
    for wanted, tiles in reversed(_forced):
        if wanted in (None, work):
            return tiles
    block_m = _at_least_16(n_rows)
    if not _pretended and (device.type != "cuda" or not kernels_compile()):
        block_n, block_k = (min(_at_least_16(width), 128) for width in widths)
        return Tiles(min(block_m, 64), block_n, block_k)
    generation = _generation(device)
    lengths = (n_rows, widths[0]) if work == "outer" else widths
    if dtype.itemsize > 2 or any(length % 16 for length in lengths):
        tiles = replace(_SMALL[work], block_m=min(block_m, 64))
    else:
        table = _HOPPER[work] if generation == 90 else _AMPERE[work]
        heights = _DECODE.get(work, {}) | table
        tiles = heights[min(block_m, 128) if work != "outer" else 128]
    # An MI300 has 64 KB of shared memory, half of which one step of the large tiles fills: no more
    # than two steps can be in flight.
    return replace(tiles, num_stages=2) if generation == _MI300 else tiles


def tiles_for(n_rows: int, w: Tensor, work: Work = "product") -> Tiles:
    """Look up the block sizes for N rows and the matrices `w` (E, F, D)."""
    n_experts, n_out, n_in = w.shape
    return fitting_tiles(work, w.device, w.dtype, -(-n_rows // n_experts), n_out, n_in)


def _at_least_16(n: int) -> int:
    """Round up to a power of two; tensor cores multiply no fewer than 16 rows."""
    return max(16, 1 << (n - 1).bit_length())


def _generation(device: torch.device) -> int:
    if _pretended:
        return _pretended[-1]
    if torch.version.hip is not None:
        return _MI300
    return 90 if torch.cuda.get_device_capability(device) == (9, 0) else 80
