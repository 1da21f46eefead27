"""Chapter 09: plausible wrong kernels, each with what it must be told, and other right ones."""

from moe_teach.course.answers._ch09_combining import (  # noqa: F401 - found by name
    adds_atomically,
    adds_up_in_the_output,
    adds_without_gates,
    all_choices_in_one_load,
    clamps_the_dropped_to_row_zero,
    keeps_only_the_last_choice,
    one_token_after_the_other,
    overlooks_row_zero,
    raises_the_other_gates,
    reads_slot_minus_one,
    skips_tokens_without_experts,
    sums_in_half_precision,
    takes_the_gate_of_the_slot,
)
from moe_teach.course.answers._ch09_counting import (  # noqa: F401 - found by name
    adds_to_old_counts,
    all_blocks_into_one_row,
    by_histogram,
    clamps_the_turned_away,
    counts_the_empty_lanes,
    expert_by_expert,
    forgets_the_mask_of_the_store,
    numbers_the_experts_from_one,
    rows_as_long_as_the_range,
    skips_the_unpopular,
    sums_along_the_experts,
)
from moe_teach.course.answers._ch09_gathering import (  # noqa: F401 - found by name
    as_one_flat_row,
    forgets_the_columns_mask,
    forgets_the_rows_mask,
    joins_masks_with_and,
    one_row_after_the_other,
    reads_row_r,
    swaps_the_axes_of_the_grid,
    takes_the_width_for_the_stride,
    wraps_around_at_2_to_the_31,
    writes_with_the_stride_of_x,
)
from moe_teach.course.answers._ch09_placing import (  # noqa: F401 - found by name
    by_comparing_choices,
    counts_the_choice_itself,
    forgets_the_base,
    gives_the_dropped_row_zero,
    last_come_first_served,
    lets_the_dropped_write,
    names_choices,
    one_choice_after_the_other,
    ranks_in_the_block,
    writes_one_expert_at_a_time,
)
from moe_teach.course.answers._ch09_text import COPY, changed, kernel
from moe_teach.judging.exercise import right, wrong

# --- 9.1 copy_and_sign ------------------------------------------------------------------------


@wrong("9.1", stage="memory", says="A mask is missing")
@kernel
def loads_without_a_mask():
    return changed(COPY, ("x_ptr + at, mask=at < n", "x_ptr + at"))


@wrong("9.1", stage="memory", says="stores to element")
@kernel
def stores_without_a_mask():
    return changed(COPY, ("numbers, mask=at < n", "numbers"))


@wrong("9.1", stage="memory", says="owner")
@kernel
def signs_without_a_mask():
    return changed(COPY, ("program, mask=at < n", "program"))


@wrong("9.1", stage="memory", says="the limit of the mask is too high")
@kernel
def lets_one_too_many_in():
    return changed(COPY, ("at < n", "at <= n"))


@wrong("9.1", stage="everybody once", says="places of its own")
@kernel
def forgets_who_it_is():
    return changed(COPY, ("program * BLOCK + ", ""))


@wrong("9.1", stage="everybody once", says="limit too low")
@kernel
def stops_one_too_early():
    return changed(COPY, ("at < n", "at < n - 1"))


@wrong("9.1", stage="everybody once", says="anything to `owner`. Is there")
@kernel
def forgets_to_sign():
    return changed(COPY, ("tl.store(owner_ptr + at, program, mask=at < n)", "pass"))


@wrong("9.1", stage="copies", says="not a copy")
@kernel
def copies_its_own_number():
    return changed(COPY, ("at, numbers, mask", "at, program, mask"))


@wrong("9.1", stage="owners", says="*neighbours*")
@kernel
def deals_the_numbers_out():
    strided = "program + tl.arange(0, BLOCK) * tl.num_programs(0)"
    return changed(COPY, ("program * BLOCK + tl.arange(0, BLOCK)", strided))


@wrong("9.1", stage="owners", says="counts from 0")
@kernel
def counts_programs_from_one():
    return changed(COPY, ("at, program, mask", "at, program + 1, mask"))


@right("9.1")
@kernel
def one_number_after_the_other():
    return """\
@triton.jit
def kernel(x_ptr, out_ptr, owner_ptr, n, BLOCK: tl.constexpr):
    first = tl.program_id(0) * BLOCK
    for at in range(first, tl.minimum(first + BLOCK, n)):
        tl.store(out_ptr + at, tl.load(x_ptr + at))
        tl.store(owner_ptr + at, at // BLOCK)
"""


@right("9.1")
@kernel
def by_clamping_the_places():
    return changed(
        COPY,
        ("tl.arange(0, BLOCK)", "tl.arange(0, BLOCK)\n    at = tl.minimum(at, n - 1)"),
        (", mask=at < n", ""),
    )
