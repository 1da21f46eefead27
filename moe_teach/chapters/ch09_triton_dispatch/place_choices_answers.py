"""Exercise 9.3: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed, kernel
from moe_teach.chapters.ch09_triton_dispatch.place_choices import EXERCISE

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


@EXERCISE.wrong(stage="memory", says="includes the choice itself")
@kernel
def counts_the_choice_itself():
    return changed(PLACE, ("tl.cumsum(hits, axis=0) - hits", "tl.cumsum(hits, axis=0)"))


@EXERCISE.wrong(stage="a row of its own", says="where `base` tells *it* to")
@kernel
def forgets_the_base():
    return changed(PLACE, ("block * n_experts + expert", "expert"))


@EXERCISE.wrong(stage="a row of its own", says="of the *same* expert")
@kernel
def writes_one_expert_at_a_time():
    return changed(PLACE, ("tl.cumsum(hits, axis=0) - hits", "tl.zeros_like(hits)"))


@EXERCISE.wrong(stage="memory", says="element -")
@kernel
def ranks_in_the_block():
    return changed(PLACE, ("tl.cumsum(hits, axis=0) - hits", "hits - tl.cumsum(hits, axis=0)"))


@EXERCISE.wrong(stage="slots", says="earlier ones first")
@kernel
def last_come_first_served():
    later = "tl.sum(hits, axis=0)[None, :] - tl.cumsum(hits, axis=0)"
    return changed(PLACE, ("tl.cumsum(hits, axis=0) - hits", later))


@EXERCISE.wrong(stage="tokens", says="names choices")
@kernel
def names_choices():
    return changed(PLACE, ("at // TOP_K", "at"))


@EXERCISE.wrong(stage="turned away", says="somebody else's row")
@kernel
def gives_the_dropped_row_zero():
    return changed(PLACE, ("tl.where(ids >= 0, row, -1)", "row"))


@EXERCISE.wrong(stage="turned away", says="by who was kept")
@kernel
def lets_the_dropped_write():
    return changed(PLACE, ("mask=ids >= 0", "mask=at < n_choices"))


@EXERCISE.right
@kernel
def by_comparing_choices():
    return changed(
        PLACE,
        ("expert = tl.arange(0, EXPERTS)\n    ", "lane = tl.arange(0, BLOCK)\n    "),
        ("hits = (ids[:, None] == expert[None, :]).to(tl.int32)\n    ", ""),
        (
            "earlier = tl.cumsum(hits, axis=0) - hits",
            "same = (ids[:, None] == ids[None, :]) & (lane[:, None] > lane[None, :])",
        ),
        ("n_experts + expert, mask=expert < n_experts", "n_experts + ids, mask=ids >= 0"),
        ("tl.sum(hits * (earlier + base[None, :]), axis=1)", "base + tl.sum(same.to(tl.int32), 1)"),
    )


@EXERCISE.right
@kernel
def one_choice_after_the_other():
    return """\
@triton.jit
def kernel(
    expert_ids_ptr, base_ptr, slot_ptr, token_idx_ptr, n_choices, n_experts,
    TOP_K: tl.constexpr, BLOCK: tl.constexpr, EXPERTS: tl.constexpr,
):
    block = tl.program_id(0)
    expert = tl.arange(0, EXPERTS)
    row = tl.load(base_ptr + block * n_experts + expert, mask=expert < n_experts, other=0)
    for at in range(block * BLOCK, tl.minimum(block * BLOCK + BLOCK, n_choices)):
        mine = expert == tl.load(expert_ids_ptr + at)
        has_row = tl.sum(mine.to(tl.int32)) > 0
        here = tl.sum(tl.where(mine, row, 0))
        tl.store(slot_ptr + at, tl.where(has_row, here, -1))
        tl.store(token_idx_ptr + here, at // TOP_K, mask=has_row)
        row += mine.to(tl.int32)
"""
