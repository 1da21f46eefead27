"""Where every choice goes, as Triton kernels: counts, offsets and slots without a sort.

The T * K pairs of a token and one of its choices stand in a line, pair p = t * K + k, and each
program owns a stretch of them, which it reads tile by tile:

    pairs     | program 0           | program 1           | program 2        |
    count       n[0, e]               n[1, e]               n[2, e]             choices per expert
    place       row of pair p   = start of its expert e
                                + n[q, e] summed over the programs q before
                                + choices of e seen earlier in this stretch

Rows are numbered in the order of the choices, so the result is that of a stable sort, and the
same in every run: programs add integers that are their own, and nobody waits for anybody. The
rows of dropped choices come after all others, so that every entry of the record is written
whatever is dropped. If one program does for all, it counts and places in one launch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.ops.dispatch import MOST_COUNTED_EXPERTS
from moe_teach.ops.registered import registered
from moe_teach.ops.triton_host import tl, triton
from moe_teach.types import Dispatched

_TILE = 2**14  # comparisons of a tile's choices with all experts: 64 registers a thread at 8 warps
_MOST_PROGRAMS = 128  # each reads the counts of all others; about as many as there are processors
_ALONE = 16  # tiles that one program finishes sooner than two launches begin


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every choice goes, before anybody has waited for the number of rows.

    `token_idx` of `dispatched` and `pair_idx` have T * K entries: the rows, of which there are
    `dispatched.expert_offsets[-1]`, and after them the dropped choices. `pair_idx` is t * K + k.
    """

    dispatched: Dispatched
    pair_idx: Tensor  # (T * K,) int32


def lay_out(
    expert_ids: Tensor,
    n_experts: int,
    kept: Tensor | None = None,
    *,
    block: int | None = None,
    tiles: int | None = None,
) -> Layout:
    """Count, scan and place T * K choices in one launch or two, without waiting for the device.

    An id that names no expert counts as dropped: no kernel checks ids, and none leaves its memory.

    Args:
        expert_ids: (T, K) integers.
        n_experts: E, at most `MOST_COUNTED_EXPERTS`.
        kept: (T, K) bool; choices with False are dropped.
        block: choices in one tile, a power of two; chosen by E if absent.
        tiles: tiles in one program's stretch; chosen by T * K if absent.

    Raises:
        ValueError: if there are too many experts.
    """
    if n_experts > MOST_COUNTED_EXPERTS:
        raise ValueError(
            f"The kernel counts for at most {MOST_COUNTED_EXPERTS} experts, not {n_experts}: "
            "choose another backend."
        )
    *record, pair_idx = _lay_out(expert_ids, n_experts, kept, block, tiles)
    return Layout(Dispatched(*record), pair_idx)


def _laid_out(
    expert_ids: Tensor, n_experts: int, kept: Tensor | None, block: int | None, tiles: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    layout = empty_layout(expert_ids, n_experts)
    n_pairs = expert_ids.numel()
    if n_pairs:
        experts = triton.next_power_of_2(n_experts)
        block = block or max(16, min(128, _TILE // experts))
        tiles = tiles or _tiles_of(n_pairs, block)
        n_programs = triton.cdiv(n_pairs, tiles * block)
        counts = expert_ids.new_empty(n_programs, experts, dtype=torch.int32)
        fill(layout, expert_ids, kept, counts, block, tiles)
    return _parts(layout)


def _parts(layout: Layout) -> tuple[Tensor, ...]:
    record = layout.dispatched
    fields = record.token_idx, record.slot, record.tokens_per_expert, record.expert_offsets
    return *fields, layout.pair_idx


def _shapes(expert_ids: Tensor, n_experts: int, *_: object) -> tuple[Tensor, ...]:
    return _parts(empty_layout(expert_ids, n_experts))


_lay_out = registered("lay_out", _laid_out, _shapes)


def fill(
    layout: Layout, expert_ids: Tensor, kept: Tensor | None, counts: Tensor, block: int, tiles: int
) -> None:
    """Launch the kernels; `counts` has a row per program, and is left alone if there is but one."""
    record = layout.dispatched
    n_programs, experts = counts.shape
    has_kept, is_alone = kept is not None, n_programs == 1
    choices = (expert_ids.contiguous(), kept.contiguous() if has_kept else None)
    sizes = (tiles, expert_ids.numel(), len(record.tokens_per_expert), n_programs)
    constants = {"HAS_KEPT": has_kept, "BLOCK": block, "EXPERTS": experts, "num_warps": 8}
    if not is_alone:
        _count_stretches[(n_programs,)](*choices, counts, *sizes, **constants)
    _place_stretches[(n_programs,)](
        *choices,
        None if is_alone else counts,
        record.slot,
        record.token_idx,
        layout.pair_idx,
        record.tokens_per_expert,
        record.expert_offsets,
        *sizes,
        TOP_K=expert_ids.shape[-1],
        ALONE=is_alone,
        **constants,
    )


def _tiles_of(n_pairs: int, block: int) -> int:
    n_tiles = triton.cdiv(n_pairs, block)
    return n_tiles if n_tiles <= _ALONE else triton.cdiv(n_tiles, _MOST_PROGRAMS)


def empty_layout(expert_ids: Tensor, n_experts: int) -> Layout:
    """Reserve memory for the record of these choices."""
    n_pairs, device = expert_ids.numel(), expert_ids.device
    # Without any choice no kernel runs, and the counts have to be zeros.
    reserve = torch.empty if n_pairs else torch.zeros
    record = Dispatched(
        token_idx=torch.empty(n_pairs, dtype=torch.int64, device=device),
        slot=torch.empty(expert_ids.shape, dtype=torch.int64, device=device),
        tokens_per_expert=reserve(n_experts, dtype=torch.int64, device=device),
        expert_offsets=reserve(n_experts, dtype=torch.int32, device=device),
    )
    return Layout(record, torch.empty(n_pairs, dtype=torch.int32, device=device))


@triton.jit
def _experts_of(expert_ids, kept, pair, n_pairs, n_experts, HAS_KEPT, EXPERTS):
    """Give the expert of each pair of a tile, and EXPERTS, which nobody is, for the others."""
    exists = pair < n_pairs
    expert = tl.load(expert_ids + pair, mask=exists, other=-1)
    goes_out = (expert >= 0) & (expert < n_experts)
    if HAS_KEPT:
        goes_out = goes_out & (tl.load(kept + pair, mask=exists, other=0) != 0)
    return tl.where(goes_out, expert, EXPERTS).to(tl.int32)


@triton.jit
def _count(expert_ids, kept, first, tiles, n_pairs, n_experts, HAS_KEPT, BLOCK, EXPERTS):
    """Count the choices of one stretch, expert by expert."""
    numbers = tl.arange(0, EXPERTS)
    counts = tl.zeros((EXPERTS,), tl.int32)
    for tile in range(tiles):
        pair = first + tile * BLOCK + tl.arange(0, BLOCK)
        expert = _experts_of(expert_ids, kept, pair, n_pairs, n_experts, HAS_KEPT, EXPERTS)
        counts += tl.sum((expert[:, None] == numbers[None, :]).to(tl.int32), axis=0)
    return counts


@triton.jit
def _count_stretches(
    expert_ids, kept, counts, tiles, n_pairs, n_experts, n_programs,
    HAS_KEPT: tl.constexpr, BLOCK: tl.constexpr, EXPERTS: tl.constexpr,
):  # fmt: skip
    """A program owns a stretch of choices and one row of `counts` (n_programs, EXPERTS)."""
    program = tl.program_id(0)
    first = program * tiles * BLOCK
    mine = _count(expert_ids, kept, first, tiles, n_pairs, n_experts, HAS_KEPT, BLOCK, EXPERTS)
    tl.store(counts + program * EXPERTS + tl.arange(0, EXPERTS), mine)


@triton.jit
def _sum_counts(counts, program, n_programs, BLOCK, EXPERTS):
    """Sum what was counted: in the stretches before this program's, and in all of them."""
    numbers = tl.arange(0, EXPERTS)
    before = tl.zeros((EXPERTS,), tl.int32)
    total = tl.zeros((EXPERTS,), tl.int32)
    for begin in range(0, n_programs, BLOCK):
        other = begin + tl.arange(0, BLOCK)[:, None]
        theirs = tl.load(counts + other * EXPERTS + numbers[None, :], other < n_programs, other=0)
        before += tl.sum(tl.where(other < program, theirs, 0), axis=0)
        total += tl.sum(theirs, axis=0)
    return before, total


@triton.jit
def _rank(expert, BLOCK):
    """Count, for each pair of a tile, the earlier ones of the tile that go the same way."""
    lane = tl.arange(0, BLOCK)
    is_before = (lane[None, :] < lane[:, None]) & (expert[None, :] == expert[:, None])
    return tl.sum(is_before.to(tl.int32), axis=1)


@triton.jit
def _place_stretches(
    expert_ids, kept, counts, slot, token_idx, pair_idx, tokens_per_expert, expert_offsets,
    tiles, n_pairs, n_experts, n_programs, TOP_K: tl.constexpr, ALONE: tl.constexpr,
    HAS_KEPT: tl.constexpr, BLOCK: tl.constexpr, EXPERTS: tl.constexpr,
):  # fmt: skip
    """A program owns a stretch of choices and the rows they get; program 0 also the counts."""
    program = tl.program_id(0)
    first = program * tiles * BLOCK
    numbers = tl.arange(0, EXPERTS)
    if ALONE:
        total = _count(expert_ids, kept, 0, tiles, n_pairs, n_experts, HAS_KEPT, BLOCK, EXPERTS)
        before = tl.zeros((EXPERTS,), tl.int32)
    else:
        before, total = _sum_counts(counts, program, n_programs, BLOCK, EXPERTS)
    ends = tl.cumsum(total, axis=0)
    if program == 0:
        tl.store(tokens_per_expert + numbers, total.to(tl.int64), numbers < n_experts)
        tl.store(expert_offsets + numbers, ends, numbers < n_experts)

    next_row = ends - total + before
    next_dropped = tl.sum(total, axis=0) + first - tl.sum(before, axis=0)
    for tile in range(tiles):
        pair = first + tile * BLOCK + tl.arange(0, BLOCK)
        expert = _experts_of(expert_ids, kept, pair, n_pairs, n_experts, HAS_KEPT, EXPERTS)
        is_mine = expert[:, None] == numbers[None, :]
        goes_out = expert < EXPERTS
        start = tl.sum(tl.where(is_mine, next_row[None, :], 0), axis=1)
        row = tl.where(goes_out, start, next_dropped) + _rank(expert, BLOCK)
        _write(slot, token_idx, pair_idx, pair, row, goes_out, n_pairs, TOP_K)
        seen = tl.sum(is_mine.to(tl.int32), axis=0)
        next_row += seen
        next_dropped += BLOCK - tl.sum(seen, axis=0)


@triton.jit
def _write(slot, token_idx, pair_idx, pair, row, goes_out, n_pairs, TOP_K):
    """Write both directions of the map, from pair to row and from row to pair."""
    exists = pair < n_pairs
    tl.store(slot + pair, tl.where(goes_out, row, -1).to(tl.int64), exists)
    tl.store(token_idx + row, (pair // TOP_K).to(tl.int64), exists)
    tl.store(pair_idx + row, pair, exists)
