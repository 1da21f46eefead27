"""Chapter 10: one right source of each kernel, and the way to make a slip in it."""

from typing import Any

from moe_teach.judging.launching import kernel_from

LOOP = """
@triton.jit
def gathered_matmul_kernel(
    x_ptr, token_idx_ptr, w_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F, stride_e, stride_f, stride_d,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    t = tl.program_id(0)
    e = tl.load(tile_expert_ptr + t)
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + t) + tl.arange(0, BLOCK_ROWS)
    end = tl.load(tile_end_ptr + t)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    token = tl.load(token_idx_ptr + n, mask=n < end, other=0)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at_x = x_ptr + token[:, None] * D + d[None, :]
        at_w = w_ptr + e * stride_e + f[None, :] * stride_f + d[:, None] * stride_d
        a = tl.load(at_x, mask=(n < end)[:, None] & (d < D)[None, :], other=0.0)
        b = tl.load(at_w, mask=(f < F)[None, :] & (d < D)[:, None], other=0.0)
        acc += tl.dot(a, b, input_precision="ieee")
    tl.store(out_ptr + n[:, None] * F + f[None, :], acc, mask=(n < end)[:, None] & (f < F)[None, :])
"""

SEARCH = """
@triton.jit
def find_tile_kernel(
    expert_offsets_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr, E,
    BLOCK_ROWS: tl.constexpr, BLOCK_E: tl.constexpr,
):
    t = tl.program_id(0)
    e = tl.arange(0, BLOCK_E)
    ends = tl.load(expert_offsets_ptr + e, mask=e < E, other=0)
    begins = tl.load(expert_offsets_ptr + e - 1, mask=(e > 0) & (e < E), other=0)
    n_tiles = tl.cdiv(ends - begins, BLOCK_ROWS)
    done = tl.cumsum(n_tiles, 0)
    is_mine = (done - n_tiles <= t) & (t < done)
    first = begins + (t - done + n_tiles) * BLOCK_ROWS
    begin = tl.sum(tl.where(is_mine, first, 0), 0)
    end = tl.sum(tl.where(is_mine, tl.minimum(first + BLOCK_ROWS, ends), 0), 0)
    owner = tl.sum(tl.where(is_mine, e + 1, 0), 0) - 1
    tl.store(tile_expert_ptr + t, owner)
    tl.store(tile_begin_ptr + t, begin)
    tl.store(tile_end_ptr + t, end)
"""

EPILOGUE = """
@triton.jit
def down_kernel(
    h_ptr, w_ptr, gates_ptr, choice_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_F: tl.constexpr,
):
    t = tl.program_id(0)
    e = tl.load(tile_expert_ptr + t)
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + t) + tl.arange(0, BLOCK_ROWS)
    end = tl.load(tile_end_ptr + t)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    f = tl.arange(0, BLOCK_F)
    at_h = h_ptr + n[:, None] * F + f[None, :]
    inner = tl.load(at_h, mask=(n < end)[:, None] & (f < F)[None, :], other=0.0)
    at_w = w_ptr + e * D * F + d[None, :] * F + f[:, None]
    matrix = tl.load(at_w, mask=(d < D)[None, :] & (f < F)[:, None], other=0.0)
    acc = tl.dot(inner, matrix, input_precision="ieee")
    place = tl.load(choice_ptr + n, mask=n < end, other=0)
    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)
    answer = acc * gate[:, None]
    is_mine = (n < end)[:, None] & (d < D)[None, :]
    tl.store(out_ptr + place[:, None] * D + d[None, :], answer, mask=is_mine)
"""

GRADIENT = """
@triton.jit
def weight_gradient_kernel(
    rows_ptr, dout_ptr, expert_offsets_ptr, dw_ptr, D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    e = tl.program_id(0)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    d = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    begin = tl.load(expert_offsets_ptr + e - 1, mask=e > 0, other=0)
    end = tl.load(expert_offsets_ptr + e)
    acc = tl.zeros((BLOCK_F, BLOCK_D), tl.float32)
    for start in range(begin, end, BLOCK_ROWS):
        n = start + tl.arange(0, BLOCK_ROWS)
        at_dout = dout_ptr + n[:, None] * F + f[None, :]
        at_rows = rows_ptr + n[:, None] * D + d[None, :]
        a = tl.load(at_dout, mask=(n < end)[:, None] & (f < F)[None, :], other=0.0)
        b = tl.load(at_rows, mask=(n < end)[:, None] & (d < D)[None, :], other=0.0)
        acc += tl.dot(tl.trans(a), b, input_precision="ieee")
    at_dw = dw_ptr + (e * F + f[:, None]) * D + d[None, :]
    tl.store(at_dw, acc, mask=(f < F)[:, None] & (d < D)[None, :])
"""


def slip(source: str, *changes: tuple[str, str]) -> Any:
    """Build the kernel of `source` after replacing each first text by the second, once.

    Raises ValueError where a text does not stand in the source exactly once.
    """
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{old!r} stands {source.count(old)} times in the kernel.")
        source = source.replace(old, new)
    name = source.partition("def ")[2].partition("(")[0]
    return kernel_from(source.strip() + "\n", name)
