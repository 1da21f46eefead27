"""Chapter 10: the tile tables, and the inputs that the checks of its kernels share."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

CHECKED = 3  # seeds of a learner's check; more would only draw other numbers, at 10 ms a program


def tile_tables(counts: list[int], block: int, surplus: int = 0) -> dict[str, Tensor]:
    """Walk through the experts and cut their rows into tiles; -1, 0, 0 for `surplus` more."""
    tiles, begin = [], 0
    for e, count in enumerate(counts):
        for first in range(begin, begin + count, block):
            tiles.append((e, first, min(first + block, begin + count)))
        begin += count
    tiles += [(-1, 0, 0)] * surplus
    experts, begins, ends = torch.tensor(tiles, dtype=torch.int32).view(-1, 3).T.contiguous()
    return {"tile_expert_ptr": experts, "tile_begin_ptr": begins, "tile_end_ptr": ends}


def offsets_of(counts: list[int]) -> Tensor:
    """Give the end of each expert's rows (E,) int32."""
    return torch.tensor(counts).cumsum(0).to(torch.int32)


def normal(*shape: int, seed: int) -> Tensor:
    """Draw normal numbers in the given shape."""
    return torch.randn(*shape, generator=generator(seed))


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Prepare an output that nobody has written: NaN everywhere."""
    return torch.full(shape, float("nan"), dtype=dtype)


def expert_of_rows(counts: list[int]) -> Tensor:
    """Give the expert of each sorted row (N,)."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def facts(run: Any, expected: Tensor, got: Tensor) -> dict[str, Any]:
    """What a requirement about one launch shows."""
    return {"expected": expected, "got": got, "example": run.given}
