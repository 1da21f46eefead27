"""Chapter 09: the kernels as text, so that a wrong answer is a right one with one thing changed."""

from collections.abc import Callable
from typing import Any

from moe_teach.judging.launching import kernel_from

COPY = """\
@triton.jit
def kernel(x_ptr, out_ptr, owner_ptr, n, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    at = program * BLOCK + tl.arange(0, BLOCK)
    numbers = tl.load(x_ptr + at, mask=at < n)
    tl.store(out_ptr + at, numbers, mask=at < n)
    tl.store(owner_ptr + at, program, mask=at < n)
"""

COUNT = """\
@triton.jit
def kernel(
    expert_ids_ptr, counts_ptr, n_choices, n_experts, BLOCK: tl.constexpr, EXPERTS: tl.constexpr
):
    block = tl.program_id(0)
    at = block * BLOCK + tl.arange(0, BLOCK)
    ids = tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1)
    expert = tl.arange(0, EXPERTS)
    hits = (ids[:, None] == expert[None, :]).to(tl.int32)
    counts = tl.sum(hits, axis=0)
    tl.store(counts_ptr + block * n_experts + expert, counts, mask=expert < n_experts)
"""

PLACE = """\
@triton.jit
def kernel(
    expert_ids_ptr, base_ptr, slot_ptr, token_idx_ptr, n_choices, n_experts,
    TOP_K: tl.constexpr, BLOCK: tl.constexpr, EXPERTS: tl.constexpr,
):
    block = tl.program_id(0)
    at = block * BLOCK + tl.arange(0, BLOCK)
    ids = tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1)
    expert = tl.arange(0, EXPERTS)
    hits = (ids[:, None] == expert[None, :]).to(tl.int32)
    earlier = tl.cumsum(hits, axis=0) - hits
    base = tl.load(base_ptr + block * n_experts + expert, mask=expert < n_experts, other=0)
    row = tl.sum(hits * (earlier + base[None, :]), axis=1)
    tl.store(slot_ptr + at, tl.where(ids >= 0, row, -1), mask=at < n_choices)
    tl.store(token_idx_ptr + row, at // TOP_K, mask=ids >= 0)
"""

GATHER = """\
@triton.jit
def kernel(
    x_ptr, token_idx_ptr, rows_ptr, n_rows, d_model, stride_x, stride_rows,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    token = tl.load(token_idx_ptr + row, mask=row < n_rows, other=0).to(tl.int64)
    mine = (row < n_rows)[:, None] & (column < d_model)[None, :]
    values = tl.load(x_ptr + token[:, None] * stride_x + column[None, :], mask=mine)
    tl.store(rows_ptr + row[:, None] * stride_rows + column[None, :], values, mask=mine)
"""

COMBINE = """\
@triton.jit
def kernel(
    y_ptr, gates_ptr, slot_ptr, out_ptr, n_tokens, d_model,
    TOP_K: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mine = (token < n_tokens)[:, None] & (column < d_model)[None, :]
    mixture = tl.zeros((BLOCK_T, BLOCK_D), dtype=tl.float32)
    for k in range(TOP_K):
        slot = tl.load(slot_ptr + token * TOP_K + k, mask=token < n_tokens, other=-1)
        gate = tl.load(gates_ptr + token * TOP_K + k, mask=token < n_tokens, other=0.0)
        there = (slot >= 0)[:, None] & (column < d_model)[None, :]
        answer = tl.load(
            y_ptr + slot[:, None] * d_model + column[None, :], mask=there, other=0.0
        )
        mixture += gate[:, None] * answer
    tl.store(out_ptr + token[:, None] * d_model + column[None, :], mixture, mask=mine)
"""


def changed(source: str, *changes: tuple[str, str]) -> str:
    """Replace pieces of a source text; each must be there, or the answer would be a right one."""
    for old, new in changes:
        if old not in source:
            raise ValueError(f"The kernel does not say {old!r}.")
        source = source.replace(old, new)
    return source


def kernel(write: Callable[[], str]) -> Any:
    """Build the kernel whose text `write` gives, under the name of `write`."""
    name = write.__name__
    return kernel_from(write().replace("def kernel(", f"def {name}(", 1), name)
