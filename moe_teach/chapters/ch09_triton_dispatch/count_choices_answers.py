"""Exercise 9.2: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed, kernel
from moe_teach.chapters.ch09_triton_dispatch.count_choices import EXERCISE

COUNT = """\
@triton.jit
def kernel(
    expert_ids_ptr, counts_ptr, n_choices, n_experts, BLOCK: tl.constexpr, EXPERTS: tl.constexpr
):
    for block in range(tl.program_id(0), tl.cdiv(n_choices, BLOCK), tl.num_programs(0)):
        at = block * BLOCK + tl.arange(0, BLOCK)
        ids = tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1)
        expert = tl.arange(0, EXPERTS)
        hits = (ids[:, None] == expert[None, :]).to(tl.int32)
        counts = tl.sum(hits, axis=0)
        tl.store(counts_ptr + block * n_experts + expert, counts, mask=expert < n_experts)
"""
_LOOP = "range(tl.program_id(0), tl.cdiv(n_choices, BLOCK), tl.num_programs(0))"


@EXERCISE.wrong(stage="memory", says="mask of the store")
@kernel
def forgets_the_mask_of_the_store():
    return changed(COUNT, ("counts, mask=expert < n_experts", "counts"))


@EXERCISE.wrong(stage="memory", says="the start of a row")
@kernel
def rows_as_long_as_the_range():
    return changed(COUNT, ("block * n_experts", "block * EXPERTS"))


@EXERCISE.wrong(stage="memory", says="raised")
@kernel
def sums_along_the_experts():
    return changed(COUNT, ("axis=0", "axis=1"))


@EXERCISE.wrong(stage="everybody once", says="full of old numbers")
@kernel
def adds_to_old_counts():
    old = "tl.load(counts_ptr + block * n_experts + expert, mask=expert < n_experts)"
    return changed(COUNT, ("expert, counts, mask", f"expert, counts + {old}, mask"))


@EXERCISE.wrong(stage="everybody once", says="row b of the table and nothing else")
@kernel
def all_blocks_into_one_row():
    return changed(COUNT, ("block * n_experts + ", ""))


@EXERCISE.wrong(stage="everybody once", says="still has its count")
@kernel
def skips_the_unpopular():
    return changed(COUNT, ("mask=expert < n_experts", "mask=(expert < n_experts) & (counts > 0)"))


@EXERCISE.wrong(stage="memory", says="lanes that a mask switched off")
@kernel
def counts_the_empty_lanes():
    return changed(COUNT, (", other=-1", ""))


@EXERCISE.wrong(stage="counts", says="were given the id of an expert")
@kernel
def counts_the_empty_lanes_for_the_first_expert():
    return changed(COUNT, ("other=-1", "other=0"))


@EXERCISE.wrong(stage="counts", says="column e those with")
@kernel
def numbers_the_experts_from_one():
    return changed(COUNT, ("tl.arange(0, EXPERTS)\n", "tl.arange(0, EXPERTS)\n        ids -= 1\n"))


@EXERCISE.wrong(stage="turned away", says="not for the first expert")
@kernel
def clamps_the_turned_away():
    clamped = "hits = (tl.maximum(ids, 0)[:, None] == expert[None, :])"
    return changed(
        COUNT,
        ("hits = (ids[:, None] == expert[None, :])", clamped),
        (".to(tl.int32)", ".to(tl.int32) * (at < n_choices)[:, None].to(tl.int32)"),
    )


@EXERCISE.right
@kernel
def by_histogram():
    return changed(
        COUNT,
        ("hits = (ids[:, None] == expert[None, :]).to(tl.int32)\n        ", ""),
        ("tl.sum(hits, axis=0)", "tl.histogram(ids, EXPERTS, mask=ids >= 0)"),
    )


@EXERCISE.right
@kernel
def in_runs_of_neighbours():
    runs = "range(tl.program_id(0) * share, tl.minimum(tl.program_id(0) * share + share, blocks))"
    return changed(
        COUNT,
        (
            "    for block in " + _LOOP,
            "    blocks = tl.cdiv(n_choices, BLOCK)\n"
            "    share = tl.cdiv(blocks, tl.num_programs(0))\n"
            "    for block in " + runs,
        ),
    )


@EXERCISE.wrong(stage="any number of programs", says="has to take more than one")
@kernel
def one_block_for_each_program():
    return changed(COUNT, (_LOOP, "range(tl.program_id(0), tl.program_id(0) + 1)"))


@EXERCISE.wrong(stage="everybody once", says="row b of the table and nothing else")
@kernel
def walks_through_all_later_blocks():
    return changed(COUNT, (", tl.num_programs(0))", ")"))


@EXERCISE.wrong(stage="any number of programs", says="kept from one block to the next")
@kernel
def adds_up_over_its_blocks():
    return changed(
        COUNT,
        ("    for block", "    counts = tl.zeros((EXPERTS,), tl.int32)\n    for block"),
        ("counts = tl.sum(hits, axis=0)", "counts += tl.sum(hits, axis=0)"),
    )


@EXERCISE.wrong(stage="a row in one store", says="each count is stored alone")
@kernel
def expert_by_expert():
    return changed(
        COUNT,
        ("        expert = tl.arange(0, EXPERTS)\n", "        for e in range(n_experts):\n"),
        (
            "        hits = (ids[:, None] == expert[None, :]).to(tl.int32)\n",
            "            count = tl.sum((ids == e).to(tl.int32))\n",
        ),
        ("        counts = tl.sum(hits, axis=0)\n", ""),
        (
            "tl.store(counts_ptr + block * n_experts + expert, counts, mask=expert < n_experts)",
            "    tl.store(counts_ptr + block * n_experts + e, count)",
        ),
    )
