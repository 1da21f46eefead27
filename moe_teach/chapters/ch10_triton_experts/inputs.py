"""Chapter 10: the tile tables, and the inputs that the checks of its kernels share."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

FAR = 2**31  # numbers: an int32 offset reaches no further
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


def far_tile(far: str, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Give exercise 10.1 a tile of two rows at the far end of x, w or out, and their product."""
    from moe_teach.analysis.kernel_watch import vast

    d_model, d_ff = 4, 4
    begin, token, e = (FAR // 4 if far == "out" else 0), (FAR // 4 if far == "x" else 1), 2
    gap = FAR // 2 if far == "w" else d_model * d_ff
    x = vast((token + 2, d_model), dtype=torch.float32)
    w = vast((e + 1, d_ff, d_model), (gap, d_model, 1), dtype=torch.float32)
    token_idx = vast((begin + 2,), dtype=torch.int32)
    token_idx[begin:] = torch.tensor([token + 1, token])
    x[token:], w[e] = normal(2, d_model, seed=seed), normal(d_ff, d_model, seed=seed + 1)
    given: dict[str, Any] = {"x_ptr": x, "token_idx_ptr": token_idx, "w_ptr": w}
    given["out_ptr"] = vast((begin + 2, d_ff), dtype=torch.float32)
    tile = {"tile_expert_ptr": e, "tile_begin_ptr": begin, "tile_end_ptr": begin + 2}
    given |= {name: torch.tensor([value], dtype=torch.int32) for name, value in tile.items()}
    given |= {"D": d_model, "F": d_ff, "stride_e": gap, "stride_f": d_model, "stride_d": 1}
    given |= {"BLOCK_ROWS": 4, "BLOCK_F": 4, "BLOCK_D": 4}
    return given, x[token:].flip(0) @ w[e].T


def facts(run: Any, expected: Tensor, got: Tensor) -> dict[str, Any]:
    """What a requirement about one launch shows."""
    return {"expected": expected, "got": got, "example": run.given}
