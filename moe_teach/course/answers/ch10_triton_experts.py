"""Chapter 10: plausible wrong answers, each with what it must be told, and other right ones."""

from moe_teach.course.answers._ch10_bill import (  # noqa: F401 - found by name
    adds_the_two_clocks,
    answers_with_tensors,
    counts_numbers_for_bytes,
    fetches_matrices_for_every_row,
    forgets_the_inner_rows,
    names_the_faster_limit,
    prices_two_matrices,
    takes_the_faster_clock,
    wakes_everybody,
    with_fractions,
    with_lists_and_loops,
)
from moe_teach.course.answers._ch10_kernels import LOOP, SEARCH, slip
from moe_teach.course.answers._ch10_slips import (  # noqa: F401 - found by name
    adds_to_what_is_there,
    adds_up_in_memory,
    begins_at_zero,
    begins_before_the_first,
    forgets_the_gates,
    keeps_the_last_step,
    leaves_out_the_short_step,
    loads_dout_turned_round,
    multiplies_without_turning,
    reads_choices_past_the_end,
    rounds_before_the_gate,
    row_by_row,
    skips_the_unemployed,
    stays_in_row_order,
    stores_it_turned_round,
    stores_nothing,
    stores_past_the_columns,
    stores_past_the_matrix,
    stores_the_overhang,
    sums_rows_in_half,
    takes_one_step,
    takes_the_gates_of_the_rows,
    takes_the_neighbours_row,
    weighs_the_columns,
    weighs_the_inner_rows,
    with_a_column_of_places,
)
from moe_teach.judging.exercise import right, wrong

# --- 10.1 gathered_matmul_kernel --------------------------------------------------------------

forgets_the_gather = wrong("10.1", stage="one tile", says="for the wrong rows")(
    slip(LOOP, ("token[:, None] * D", "n[:, None] * D"))
)
always_the_first_expert = wrong("10.1", stage="one tile", says="matrix of expert 0")(
    slip(LOOP, ("e * stride_e + ", ""))
)
turns_the_matrix_round = wrong("10.1", stage="one tile", says="turned round")(
    slip(LOOP, ("f[None, :] * stride_f + d[:, None]", "f[None, :] * stride_d + d[:, None]"),
         ("d[:, None] * stride_d", "d[:, None] * stride_f"))
)  # fmt: skip
never_stores = wrong("10.1", stage="one tile", says="Where is the store")(
    slip(LOOP, ("acc, mask=(n < end)[:, None] &", "acc, mask=(n < 0)[:, None] &"))
)
stops_after_one_step = wrong("10.1", stage="K loop", says="Only the first BLOCK_D steps")(
    slip(LOOP, ("range(0, D, BLOCK_D)", "range(0, BLOCK_D, BLOCK_D)"))
)
repeats_the_first_step = wrong("10.1", stage="K loop", says="first block three times")(
    slip(LOOP, ("start + tl.arange(0, BLOCK_D)", "tl.arange(0, BLOCK_D)"))
)
replaces_the_sum = wrong("10.1", stage="K loop", says="not replace it")(
    slip(LOOP, ("acc += tl.dot", "acc = tl.dot"))
)
stores_in_every_turn = wrong("10.1", stage="K loop", says="stored again in every turn")(
    slip(LOOP, ("    tl.store(out", "        tl.store(out"))
)
reads_past_d_in_x = wrong("10.1", stage="edges", says="mask both when you load from x")(
    slip(LOOP, ("mask=(n < end)[:, None] & (d < D)[None, :], other=0.0", "mask=d[None, :] < 2 * D"))
)
reads_past_f_in_w = wrong("10.1", stage="edges", says="mask both when you load from w")(
    slip(LOOP, ("mask=(f < F)[None, :] & (d < D)[:, None]", "mask=(d < D)[:, None]"))
)
wraps_round_at_d = wrong("10.1", stage="edges", says="must count as 0.0")(
    slip(LOOP, ("start + tl.arange(0, BLOCK_D)", "(start + tl.arange(0, BLOCK_D)) % D"))
)
stores_whole_tiles = wrong("10.1", stage="edges", says="Store under a mask")(
    slip(LOOP, ("acc, mask=(n < end)[:, None] & (f < F)[None, :])", "acc, mask=(f < F)[None, :])"))
)
counts_rows_by_tiles = wrong("10.1", stage="groups", says="")(
    slip(LOOP, ("tl.load(tile_begin_ptr + t) +", "t * BLOCK_ROWS +"))
)
trusts_the_layout = wrong("10.1", stage="strides", says="stored the other way round")(
    slip(LOOP, ("f[None, :] * stride_f + d[:, None] * stride_d", "f[None, :] * D + d[:, None]"))
)
sums_in_the_inputs_dtype = wrong("10.1", stage="half precision", says="largest float16")(
    slip(
        LOOP,
        ("BLOCK_F), tl.float32", "BLOCK_F), x_ptr.dtype.element_ty"),
        ('"ieee")', '"ieee").to(x_ptr.dtype.element_ty)'),
    )
)

by_products_and_sums = right("10.1")(
    slip(LOOP, ('tl.dot(a, b, input_precision="ieee")',
                "tl.sum(a.to(tl.float32)[:, :, None] * b.to(tl.float32)[None, :, :], axis=1)"))
)  # fmt: skip
with_moving_addresses = right("10.1")(
    slip(
        LOOP,
        ("        d = start + tl.arange(0, BLOCK_D)\n", ""),
        ("    for start in", "    d = tl.arange(0, BLOCK_D)\n    for start in"),
        ('input_precision="ieee")\n', 'input_precision="ieee")\n        d += BLOCK_D\n'),
    )
)

# --- 10.2 find_tile_kernel --------------------------------------------------------------------

lets_the_last_tile_hang_over = wrong("10.2", stage="one expert", says="tl.minimum")(
    slip(SEARCH, ("tl.minimum(first + BLOCK_ROWS, ends)", "first + BLOCK_ROWS"))
)
reads_before_the_first = wrong("10.2", stage="one expert", says="has none before it")(
    slip(SEARCH, ("mask=(e > 0) & (e < E)", "mask=e < E"))
)
stores_at_the_expert = wrong("10.2", stage="one expert", says="at place t")(
    slip(SEARCH, ("tile_begin_ptr + t, begin", "tile_begin_ptr + owner, begin"))
)
begins_where_it_ends = wrong("10.2", stage="one expert", says="No program found a tile")(
    slip(SEARCH, ("ptr + e - 1, mask=(e > 0) & (e < E)", "ptr + e, mask=e < E"))
)
counts_tiles_from_one = wrong("10.2", stage="one expert", says="programs count from 0")(
    slip(SEARCH, ("(done - n_tiles <= t) & (t < done)", "(done - n_tiles < t) & (t <= done)"))
)
takes_programs_for_experts = wrong("10.2", stage="one expert", says="not experts")(
    slip(SEARCH, ("(done - n_tiles <= t) & (t < done)", "e == t"))
)
rounds_down = wrong("10.2", stage="one expert", says="round up")(
    slip(SEARCH, ("tl.cdiv(ends - begins, BLOCK_ROWS)", "(ends - begins) // BLOCK_ROWS"))
)
counts_rows_within_the_expert = wrong("10.2", stage="several experts", says="through all rows")(
    slip(SEARCH, ("first = begins + (t", "first = (t"))
)
cuts_all_rows_at_once = wrong("10.2", stage="several experts", says="in one go")(
    slip(SEARCH, ("begins + (t - done + n_tiles) *", "0 * begins + t *"))
)
gives_everybody_a_tile = wrong("10.2", stage="nobody's tile", says="has no tile")(
    slip(SEARCH, ("done = tl", "n_tiles = tl.maximum(n_tiles, e < E)\n    done = tl"))
)
leaves_surplus_alone = wrong("10.2", stage="surplus programs", says="Every program stores")(
    slip(SEARCH, ("tile_expert_ptr + t, owner)", "tile_expert_ptr + t, owner, mask=owner >= 0)"))
)
names_an_expert_too_many = wrong("10.2", stage="surplus programs", says="stores -1, 0, 0")(
    slip(SEARCH, ("tl.where(is_mine, e + 1, 0), 0) - 1", "(done <= t).to(tl.int32), 0)"))
)

by_visiting_the_experts = right("10.2")(
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
by_its_own_lane = right("10.2")(slip(SEARCH))
