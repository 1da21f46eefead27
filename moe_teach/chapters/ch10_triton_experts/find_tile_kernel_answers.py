"""Exercise 10.2: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch10_triton_experts.answer_parts import slip
from moe_teach.chapters.ch10_triton_experts.find_tile_kernel import EXERCISE

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


lets_the_last_tile_hang_over = EXERCISE.wrong(stage="one expert", says="tl.minimum")(
    slip(SEARCH, ("tl.minimum(first + BLOCK_ROWS, ends)", "first + BLOCK_ROWS"))
)


reads_before_the_first = EXERCISE.wrong(stage="one expert", says="has none before it")(
    slip(SEARCH, ("mask=(e > 0) & (e < E)", "mask=e < E"))
)


stores_at_the_expert = EXERCISE.wrong(stage="one expert", says="at place t")(
    slip(SEARCH, ("tile_begin_ptr + t, begin", "tile_begin_ptr + owner, begin"))
)


begins_where_it_ends = EXERCISE.wrong(stage="one expert", says="No program found a tile")(
    slip(SEARCH, ("ptr + e - 1, mask=(e > 0) & (e < E)", "ptr + e, mask=e < E"))
)


counts_tiles_from_one = EXERCISE.wrong(stage="one expert", says="Programs count from 0")(
    slip(SEARCH, ("(done - n_tiles <= t) & (t < done)", "(done - n_tiles < t) & (t <= done)"))
)


takes_programs_for_experts = EXERCISE.wrong(stage="one expert", says="not experts")(
    slip(SEARCH, ("(done - n_tiles <= t) & (t < done)", "e == t"))
)


rounds_down = EXERCISE.wrong(stage="one expert", says="round up")(
    slip(SEARCH, ("tl.cdiv(ends - begins, BLOCK_ROWS)", "(ends - begins) // BLOCK_ROWS"))
)


counts_rows_within_the_expert = EXERCISE.wrong(stage="several experts", says="through all rows")(
    slip(SEARCH, ("first = begins + (t", "first = (t"))
)


cuts_all_rows_at_once = EXERCISE.wrong(stage="several experts", says="in one go")(
    slip(SEARCH, ("begins + (t - done + n_tiles) *", "0 * begins + t *"))
)


gives_everybody_a_tile = EXERCISE.wrong(stage="nobody's tile", says="has no tile")(
    slip(SEARCH, ("done = tl", "n_tiles = tl.maximum(n_tiles, e < E)\n    done = tl"))
)


leaves_surplus_alone = EXERCISE.wrong(stage="surplus programs", says="Every program stores")(
    slip(SEARCH, ("tile_expert_ptr + t, owner)", "tile_expert_ptr + t, owner, mask=owner >= 0)"))
)


names_an_expert_too_many = EXERCISE.wrong(stage="surplus programs", says="stores -1, 0, 0")(
    slip(SEARCH, ("tl.where(is_mine, e + 1, 0), 0) - 1", "(done <= t).to(tl.int32), 0)"))
)


counts_on_empty_lanes = EXERCISE.wrong(stage="surplus programs", says="where BLOCK_E is E")(
    slip(
        SEARCH,
        (
            "tl.store(tile_expert_ptr + t, owner)",
            "owner = tl.sum((done <= t).to(tl.int32), 0)\n    "
            "tl.store(tile_expert_ptr + t, tl.where(owner <= E, owner, -1))",
        ),
    )
)


divides_into_a_float = EXERCISE.wrong(stage="many rows", says="a quotient made with `/`")(
    slip(
        SEARCH,
        (
            "tl.cdiv(ends - begins, BLOCK_ROWS)",
            "tl.ceil((ends - begins) / BLOCK_ROWS).to(tl.int32)",
        ),
    )
)


by_visiting_the_experts = EXERCISE.right(
    slip(
        SEARCH[: SEARCH.index("    e = tl.arange")]
        + """
    owner, begin, end, row, before = -1, 0, 0, 0, 0
    for e in range(E):
        stop = tl.load(expert_offsets_ptr + e)
        n_tiles = tl.cdiv(stop - row, BLOCK_ROWS)
        if (t >= before) & (t < before + n_tiles):
            owner = e
            begin = row + (t - before) * BLOCK_ROWS
            end = tl.minimum(begin + BLOCK_ROWS, stop)
        before += n_tiles
        row = stop
    tl.store(tile_expert_ptr + t, owner)
    tl.store(tile_begin_ptr + t, begin)
    tl.store(tile_end_ptr + t, end)
"""
    )
)


by_its_own_lane = EXERCISE.right(slip(SEARCH))
