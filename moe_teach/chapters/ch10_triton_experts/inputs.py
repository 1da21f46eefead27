"""Chapter 10: the tile tables, and the inputs that the checks of its kernels share."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

FAR = 2**32  # numbers: an offset of 32 bits reaches no further, one with a sign half as far


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


def _vast(*shape: Any, dtype: torch.dtype) -> Tensor:
    """Reserve addresses (`kernel_watch.vast`); Triton is imported where it is used."""
    from moe_teach.analysis import kernel_watch

    return kernel_watch.vast(*shape, dtype=dtype)


def _one_tile(expert: int, begin: int) -> dict[str, Tensor]:
    tile = {"tile_expert_ptr": expert, "tile_begin_ptr": begin, "tile_end_ptr": begin + 2}
    return {name: torch.tensor([value], dtype=torch.int32) for name, value in tile.items()}


def far_tile(far: str, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Give exercise 10.1 a tile of two rows at the far end of x, w or out, and their product."""
    d_model, d_ff = 4, 64
    begin, token, e = (FAR // 64 if far == "out" else 0), (FAR // 4 if far == "x" else 1), 4
    gap = FAR // 4 if far == "w" else d_model * d_ff
    x = _vast((token + 2, d_model), dtype=torch.float16)
    w = _vast((e + 1, d_ff, d_model), (gap, d_model, 1), dtype=torch.float16)
    token_idx = _vast((begin + 2,), dtype=torch.int32)
    token_idx[begin:] = torch.tensor([token + 1, token])
    x[token:], w[e] = normal(2, d_model, seed=seed), normal(d_ff, d_model, seed=seed + 1)
    given: dict[str, Any] = {"x_ptr": x, "token_idx_ptr": token_idx, "w_ptr": w}
    given["out_ptr"] = _vast((begin + 2, d_ff), dtype=torch.float16)
    given |= _one_tile(e, begin)
    given |= {"D": d_model, "F": d_ff, "stride_e": gap, "stride_f": d_model, "stride_d": 1}
    given |= {"BLOCK_ROWS": 4, "BLOCK_F": 64, "BLOCK_D": 4}
    return given, (x[token:].flip(0).float() @ w[e].float().T).half()


def far_answers(seed: int) -> tuple[dict[str, Any], Tensor]:
    """Give exercise 10.3 two rows whose choices lie at the far end of out, and their answers."""
    d_model, d_ff, n_rows = 64, 4, FAR // 64 + 2
    h = _vast((n_rows, d_ff), dtype=torch.float16)
    w = normal(1, d_model, d_ff, seed=seed + 1).half()
    gates = _vast((n_rows,), dtype=torch.float32)
    choice = _vast((n_rows,), dtype=torch.int32)
    h[-2:], gates[-2:] = normal(2, d_ff, seed=seed), torch.tensor([0.25, 0.75])
    choice[-2:] = torch.tensor([n_rows - 1, n_rows - 2])
    given: dict[str, Any] = {"h_ptr": h, "w_ptr": w, "gates_ptr": gates, "choice_ptr": choice}
    given["out_ptr"] = _vast((n_rows, d_model), dtype=torch.float16)
    given |= _one_tile(0, n_rows - 2) | {"D": d_model, "F": d_ff}
    given |= {"BLOCK_ROWS": 4, "BLOCK_D": 64, "BLOCK_F": 4}
    return given, (gates[-2:, None] * (h[-2:].float() @ w[0].float().T).flip(0)).half()


def far_rows(far: str, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Give exercise 10.4 very long rows of `rows`, `dout` or `dw`, and the gradients.

    One of D and F is so large that only its first block of columns is worked on.
    """
    wide = FAR // 4 + 7  # two of them are beyond int32, four beyond uint32
    d_model, d_ff = (1, wide) if far == "dout" else (wide, 1)
    counts = [0, 0, 0, 0, 1] if far == "dw" else [5]
    n_rows, n_d, n_f = sum(counts), min(d_model, 4), min(d_ff, 4)
    rows = _vast((n_rows, n_d), (d_model, 1), dtype=torch.float16)
    dout = _vast((n_rows, n_f), (d_ff, 1), dtype=torch.float16)
    rows.copy_(normal(n_rows, n_d, seed=seed))
    dout.copy_(normal(n_rows, n_f, seed=seed + 1))
    given: dict[str, Any] = {"rows_ptr": rows, "dout_ptr": dout}
    given |= {"expert_offsets_ptr": offsets_of(counts)}
    given |= {"dw_ptr": _vast((len(counts), n_f, n_d), (wide, d_model, 1), dtype=torch.float16)}
    given |= {"D": d_model, "F": d_ff, "BLOCK_ROWS": 8, "BLOCK_F": 4, "BLOCK_D": 4}
    pairs = zip(dout.split(counts), rows.split(counts), strict=True)
    return given, torch.stack([(a.float().T @ b.float()).half() for a, b in pairs])


def facts(run: Any, expected: Tensor, got: Tensor) -> dict[str, Any]:
    """What a requirement about one launch shows."""
    return {"expected": expected, "got": got, "example": run.given}
