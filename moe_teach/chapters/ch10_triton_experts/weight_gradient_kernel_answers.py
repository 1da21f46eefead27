"""Exercise 10.4: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch10_triton_experts.answer_parts import slip
from moe_teach.chapters.ch10_triton_experts.weight_gradient_kernel import EXERCISE

GRADIENT = """
@triton.jit
def weight_gradient_kernel(
    rows_ptr, dout_ptr, expert_offsets_ptr, dw_ptr, D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    e = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    d = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    begin = tl.load(expert_offsets_ptr + e - 1, mask=e > 0, other=0)
    end = tl.load(expert_offsets_ptr + e)
    acc = tl.zeros((BLOCK_F, BLOCK_D), tl.float32)
    for start in range(begin, end, BLOCK_ROWS):
        n = (start + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
        at_dout = dout_ptr + n[:, None] * F + f[None, :]
        at_rows = rows_ptr + n[:, None] * D + d[None, :]
        a = tl.load(at_dout, mask=(n < end)[:, None] & (f < F)[None, :], other=0.0)
        b = tl.load(at_rows, mask=(n < end)[:, None] & (d < D)[None, :], other=0.0)
        acc += tl.dot(tl.trans(a), b, input_precision="ieee")
    at_dw = dw_ptr + (e * F + f[:, None]) * D + d[None, :]
    tl.store(at_dw, acc, mask=(f < F)[:, None] & (d < D)[None, :])
"""


stores_it_turned_round = EXERCISE.wrong(stage="one block", says="turned round: dw[e, f, d]")(
    slip(GRADIENT, ("tl.dot(tl.trans(a), b,", "tl.dot(tl.trans(b), a,"))
)


multiplies_without_turning = EXERCISE.wrong(stage="one block", says="the rows that they share")(
    slip(GRADIENT, ("tl.trans(a), b", "a, b"))
)


adds_up_in_memory = EXERCISE.wrong(stage="one block", says="Each block of dw has one program")(
    slip(
        GRADIENT,
        ("tl.store(at_dw, acc", "tl.atomic_add(at_dw, acc"),
    )
)


lets_the_gpu_cut_the_tiles = EXERCISE.wrong(stage="one block", says="cut them to tf32")(
    slip(GRADIENT, (', input_precision="ieee"', ""))
)


keeps_the_last_step = EXERCISE.wrong(stage="the loop", says="Only the last step is left")(
    slip(GRADIENT, ("acc += tl.dot", "acc = tl.dot"))
)


takes_one_step = EXERCISE.wrong(stage="the loop", says="Only the first BLOCK_ROWS rows")(
    slip(GRADIENT, ("range(begin, end,", "range(begin, begin + BLOCK_ROWS,"))
)


leaves_out_the_short_step = EXERCISE.wrong(stage="the loop", says="The last row is missing")(
    slip(GRADIENT, ("range(begin, end,", "range(begin, end - BLOCK_ROWS + 1,"))
)


stores_past_the_matrix = EXERCISE.wrong(stage="edges", says="Only f below F and d below D")(
    slip(GRADIENT, ("mask=(f < F)[:, None] & (d < D)[None, :])\n", "mask=(d < D)[None, :])\n"))
)


begins_before_the_first = EXERCISE.wrong(stage="one block", says="those of expert 0 begin at 0")(
    slip(GRADIENT, ("e - 1, mask=e > 0, other=0", "e - 1"))
)


begins_at_zero = EXERCISE.wrong(stage="ragged", says="Its loop begins where expert 0 ends")(
    slip(GRADIENT, ("range(begin, end", "range(0, end"))
)


takes_the_neighbours_row = EXERCISE.wrong(stage="ragged", says="The fourth is the next expert's")(
    slip(
        GRADIENT,
        (
            "    acc = ",
            "    n_rows = tl.load(expert_offsets_ptr + tl.num_programs(0) - 1)\n    acc = ",
        ),
        ("mask=(n < end)[:, None] & (f", "mask=(n < n_rows)[:, None] & (f"),
        ("mask=(n < end)[:, None] & (d", "mask=(n < n_rows)[:, None] & (d"),
    )
)


skips_the_unemployed = EXERCISE.wrong(stage="nobody's rows", says="when the loop never turns")(
    slip(GRADIENT, ("    acc = ", "    if begin == end:\n        return\n    acc = "))
)


sums_rows_in_half = EXERCISE.wrong(stage="half precision", says="Many rows meet")(
    slip(
        GRADIENT,
        ("BLOCK_D), tl.float32", "BLOCK_D), rows_ptr.dtype.element_ty"),
        ('"ieee")', '"ieee").to(rows_ptr.dtype.element_ty)'),
    )
)


trusts_square_tiles = EXERCISE.wrong(stage="ragged", says="")(
    slip(
        GRADIENT, ("n = (start + tl.arange(0, BLOCK_ROWS))", "n = (start + tl.arange(0, BLOCK_F))")
    )
)


steps_by_a_fixed_number = EXERCISE.wrong(stage="nobody's rows", says="BLOCK_ROWS is 2 here")(
    slip(GRADIENT, ("range(begin, end, BLOCK_ROWS)", "range(begin, end, 4)"))
)


reads_with_narrow_offsets = EXERCISE.wrong(stage="far apart", says="n[:, None] * D")(
    slip(GRADIENT, ("tl.arange(0, BLOCK_ROWS)).to(tl.int64)", "tl.arange(0, BLOCK_ROWS))"))
)


writes_with_narrow_offsets = EXERCISE.wrong(stage="far apart", says="at_dw = dw_ptr + (e * F")(
    slip(GRADIENT, ("tl.program_id(0).to(tl.int64)", "tl.program_id(0)"))
)


loads_dout_turned_round = EXERCISE.right(
    slip(
        GRADIENT,
        ("n[:, None] * F + f[None, :]", "n[None, :] * F + f[:, None]"),
        ("(n < end)[:, None] & (f < F)[None, :]", "(n < end)[None, :] & (f < F)[:, None]"),
        ("tl.trans(a)", "a"),
    )
)


row_by_row = EXERCISE.right(
    slip(
        GRADIENT[: GRADIENT.index("    for start")]
        + """
    for n in range(begin, end):
        at_dout, at_rows = n * F.to(tl.int64) + f, n * D.to(tl.int64) + d
        a = tl.load(dout_ptr + at_dout, mask=f < F, other=0.0).to(tl.float32)
        b = tl.load(rows_ptr + at_rows, mask=d < D, other=0.0).to(tl.float32)
        acc += a[:, None] * b[None, :]
    at_dw = dw_ptr + (e * F + f[:, None]) * D + d[None, :]
    tl.store(at_dw, acc, mask=(f < F)[:, None] & (d < D)[None, :])
"""
    )
)
