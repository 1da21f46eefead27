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
    lane = tl.arange(0, BLOCK)
    at = block * BLOCK + lane
    ids = tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1)
    same = (ids[:, None] == ids[None, :]) & (lane[None, :] < lane[:, None])
    base = tl.load(base_ptr + block * n_experts + ids, mask=ids >= 0, other=0)
    row = base + tl.sum(same.to(tl.int32), axis=1)
    tl.store(slot_ptr + at, tl.where(ids >= 0, row, -1), mask=at < n_choices)
    tl.store(token_idx_ptr + row, at // TOP_K, mask=ids >= 0)
"""
_RANK = "tl.sum(same.to(tl.int32), axis=1)"
_BASE = "tl.load(base_ptr + block * n_experts + ids, mask=ids >= 0, other=0)"
_SAME = "same = (ids[:, None] == ids[None, :]) & (lane[None, :] < lane[:, None])"
_HITS = "hits = (ids[:, None] == tl.arange(0, EXPERTS)[None, :]).to(tl.int32)"
_EARLIER = "tl.sum(hits * (tl.cumsum(hits, axis=0) - hits), axis=1)"


@EXERCISE.wrong(stage="memory", says="includes the choice itself")
@kernel
def counts_the_choice_itself():
    return changed(PLACE, ("lane[None, :] < lane[:, None]", "lane[None, :] <= lane[:, None]"))


@EXERCISE.wrong(stage="a row of its own", says="where `base` tells *it* to")
@kernel
def forgets_the_block_in_the_base():
    return changed(PLACE, ("block * n_experts + ids", "ids"))


@EXERCISE.wrong(stage="a row of its own", says="of the *same* expert")
@kernel
def forgets_the_earlier_ones():
    return changed(PLACE, (" + " + _RANK, ""))


@EXERCISE.wrong(stage="memory", says="element -")
@kernel
def ranks_downwards():
    return changed(PLACE, (" + " + _RANK, " - " + _RANK))


@EXERCISE.wrong(stage="memory", says="-1 is no expert")
@kernel
def looks_up_the_base_of_everybody():
    return changed(PLACE, (", mask=ids >= 0, other=0", ""))


@EXERCISE.wrong(stage="only what is needed", says="expert after expert")
@kernel
def walks_through_the_experts():
    walk = (
        "row = tl.zeros((BLOCK,), tl.int32)\n"
        "    for e in range(n_experts):\n"
        "        mine = (ids == e).to(tl.int32)\n"
        "        first = tl.load(base_ptr + block * n_experts + e)\n"
        "        row = tl.where(ids == e, first + tl.cumsum(mine, axis=0) - mine, row)"
    )
    return changed(
        PLACE,
        (f"    {_SAME}\n", ""),
        (f"    base = {_BASE}\n", ""),
        (f"row = base + {_RANK}", walk),
    )


@EXERCISE.wrong(stage="only what is needed", says="whole row of `base`")
@kernel
def loads_a_whole_row_of_starts():
    expert = "tl.arange(0, EXPERTS)"
    row = f"tl.load(base_ptr + block * n_experts + {expert}, mask={expert} < n_experts, other=0)"
    return changed(
        PLACE, (_SAME, _HITS), (_BASE, f"tl.sum(hits * {row}[None, :], axis=1)"), (_RANK, _EARLIER)
    )


@EXERCISE.wrong(stage="slots", says="earlier ones first")
@kernel
def last_come_first_served():
    return changed(PLACE, ("lane[None, :] < lane[:, None]", "lane[None, :] > lane[:, None]"))


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
    return changed(PLACE, ("at // TOP_K, mask=ids >= 0", "at // TOP_K, mask=at < n_choices"))


@EXERCISE.right
@kernel
def by_a_tile_of_choices_and_experts():
    return changed(PLACE, (_SAME, _HITS), (_RANK, _EARLIER))


@EXERCISE.right
@kernel
def one_choice_after_the_other():
    return changed(
        PLACE,
        (f"    {_SAME}\n", ""),
        (
            f"row = base + {_RANK}",
            "row = base\n"
            "    for other in range(tl.minimum(BLOCK, n_choices - block * BLOCK)):\n"
            "        expert = tl.load(expert_ids_ptr + block * BLOCK + other)\n"
            "        row += tl.where(expert == ids, tl.where(other < lane, 1, 0), 0)",
        ),
    )
