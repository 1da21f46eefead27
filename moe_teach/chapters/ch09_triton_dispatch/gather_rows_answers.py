"""Exercise 9.4: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed, kernel
from moe_teach.chapters.ch09_triton_dispatch.gather_rows import EXERCISE

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
    wide_row = row.to(tl.int64)
    tl.store(rows_ptr + wide_row[:, None] * stride_rows + column[None, :], values, mask=mine)
"""


@EXERCISE.wrong(stage="memory", says="loads element")
@kernel
def forgets_the_rows_mask():
    return changed(GATHER, (", mask=row < n_rows, other=0", ""))


@EXERCISE.wrong(stage="memory", says="Python's `and` keeps")
@kernel
def joins_masks_with_and():
    return changed(GATHER, ("[:, None] & (column", "[:, None] and (column"))


@EXERCISE.wrong(stage="memory", says="needs both conditions")
@kernel
def forgets_the_columns_mask():
    return changed(GATHER, (" & (column < d_model)[None, :]", ""))


@EXERCISE.wrong(stage="memory", says="between its elements")
@kernel
def takes_the_width_for_the_stride():
    return changed(GATHER, ("token[:, None] * stride_x", "token[:, None] * d_model"))


@EXERCISE.wrong(stage="memory", says="of rows")
@kernel
def writes_with_the_stride_of_x():
    return changed(GATHER, ("wide_row[:, None] * stride_rows", "wide_row[:, None] * stride_x"))


@EXERCISE.wrong(stage="everybody once", says="Axis 0 of the grid counts blocks of rows")
@kernel
def swaps_the_axes_of_the_grid():
    return changed(
        GATHER,
        ("tl.program_id(0)", "tl.program_id(axis)"),
        ("tl.program_id(1)", "tl.program_id(0)"),
        ("tl.program_id(axis)", "tl.program_id(1)"),
    )


@EXERCISE.wrong(stage="everybody once", says="Nobody stores elements")
@kernel
def swaps_the_blocks():
    tall = "tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)"
    return changed(GATHER, ("tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)", tall))


@EXERCISE.wrong(stage="values", says="Load that number first")
@kernel
def reads_row_r():
    return changed(GATHER, ("token[:, None] * stride_x", "row[:, None] * stride_x"))


@EXERCISE.wrong(stage="far apart", says="wrapped around")
@kernel
def wraps_around_at_2_to_the_31():
    return changed(GATHER, ("other=0).to(tl.int64)", "other=0)"))


@EXERCISE.wrong(stage="far apart", says="tl.store(rows_ptr + wide_row[:, None] * stride_rows")
@kernel
def writes_with_narrow_offsets():
    return changed(GATHER, ("row.to(tl.int64)", "row"))


@EXERCISE.wrong(stage="far apart", says="Make it int64 before you multiply")
@kernel
def widens_after_the_product():
    narrow = "(token.to(tl.int32)[:, None] * stride_x).to(tl.int64)"
    return changed(GATHER, ("token[:, None] * stride_x", narrow))


@EXERCISE.wrong(stage="far apart", says="with a sign or without")
@kernel
def gives_up_the_sign():
    unsigned = "token.to(tl.uint32)[:, None] * stride_x"
    return changed(GATHER, ("token[:, None] * stride_x", unsigned))


@EXERCISE.right
@kernel
def one_row_after_the_other():
    return """\
@triton.jit
def kernel(
    x_ptr, token_idx_ptr, rows_ptr, n_rows, d_model, stride_x, stride_rows,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_N
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    for row in range(first, tl.minimum(first + BLOCK_N, n_rows)):
        source = x_ptr + tl.load(token_idx_ptr + row).to(tl.int64) * stride_x
        target = rows_ptr + row * stride_rows.to(tl.int64)
        values = tl.load(source + column, mask=column < d_model)
        tl.store(target + column, values, mask=column < d_model)
"""


@EXERCISE.right
@kernel
def as_one_flat_row():
    return changed(
        GATHER,
        (
            "row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)",
            "cell = tl.arange(0, BLOCK_N * BLOCK_D)\n"
            "    row = tl.program_id(0) * BLOCK_N + cell // BLOCK_D",
        ),
        ("BLOCK_D + tl.arange(0, BLOCK_D)", "BLOCK_D + cell % BLOCK_D"),
        ("[:, None]", ""),
        ("[None, :]", ""),
        ("other=0).to(tl.int64)", "other=0) * tl.full((1,), 1, tl.int64)"),
    )
