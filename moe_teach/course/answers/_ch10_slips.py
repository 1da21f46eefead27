"""Chapter 10, exercises 10.3 and 10.4: wrong kernels and other right ones."""

from moe_teach.course.answers._ch10_kernels import EPILOGUE, GRADIENT, slip
from moe_teach.judging.exercise import right, wrong

# --- 10.3 down_kernel -------------------------------------------------------------------------

forgets_the_gates = wrong("10.3", stage="gates", says="not weighed")(
    slip(EPILOGUE, ("acc * gate[:, None]", "acc"))
)
weighs_the_columns = wrong("10.3", stage="gates", says="weigh the columns")(
    slip(EPILOGUE, ("gate[:, None]", "gate[None, :]"))
)
stores_nothing = wrong("10.3", stage="gates", says="begins at c * D")(
    slip(EPILOGUE, ("answer, mask=is_mine", "answer, mask=is_mine & (n < 0)[:, None]"))
)
adds_to_what_is_there = wrong("10.3", stage="gates", says="a plain store is enough")(
    slip(EPILOGUE, ("tl.store(", "tl.atomic_add("))
)
stays_in_row_order = wrong("10.3", stage="places", says="stay where they are")(
    slip(EPILOGUE, ("out_ptr + place[:, None]", "out_ptr + n[:, None]"))
)
takes_the_gates_of_the_rows = wrong("10.3", stage="places", says="somebody else's gates")(
    slip(EPILOGUE, ("gates_ptr + place", "gates_ptr + n"))
)
reads_choices_past_the_end = wrong("10.3", stage="edges", says="mask the load of `choice`")(
    slip(EPILOGUE, ("choice_ptr + n, mask=n < end, other=0", "choice_ptr + n"))
)
stores_the_overhang = wrong("10.3", stage="edges", says="The fourth is nobody's answer")(
    slip(EPILOGUE, ("is_mine = (n < end)[:, None] &", "is_mine ="))
)
stores_past_the_columns = wrong("10.3", stage="edges", says="columns from D on are not yours")(
    slip(EPILOGUE, ("[:, None] & (d < D)[None, :]\n    tl.store", "[:, None]\n    tl.store"))
)
rounds_before_the_gate = wrong("10.3", stage="half precision", says="Multiply while it is still")(
    slip(EPILOGUE, ("acc * gate[:, None]", "acc.to(h_ptr.dtype.element_ty) * gate[:, None]"))
)

weighs_the_inner_rows = right("10.3")(
    slip(
        EPILOGUE,
        ("    place = tl.load(choice_ptr + n, mask=n < end, other=0)\n", ""),
        ("    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)\n", ""),
        (
            "    at_h = ",
            "    place = tl.load(choice_ptr + n, mask=n < end, other=0)\n"
            "    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)\n"
            "    at_h = ",
        ),
        ("dot(inner, matrix,", "dot(inner.to(tl.float32) * gate[:, None], matrix.to(tl.float32),"),
        ("acc * gate[:, None]", "acc"),
    )
)
with_a_column_of_places = right("10.3")(
    slip(
        EPILOGUE,
        ("choice_ptr + n, mask=n < end", "choice_ptr + n[:, None], mask=(n < end)[:, None]"),
        ("gates_ptr + place, mask=n < end", "gates_ptr + place, mask=(n < end)[:, None]"),
        ("gate[:, None]", "gate"),
        ("place[:, None]", "place"),
    )
)

# --- 10.4 weight_gradient_kernel --------------------------------------------------------------

stores_it_turned_round = wrong("10.4", stage="one block", says="turned round: dw[e, f, d]")(
    slip(GRADIENT, ("tl.dot(tl.trans(a), b,", "tl.dot(tl.trans(b), a,"))
)
multiplies_without_turning = wrong("10.4", stage="one block", says="which both tiles share")(
    slip(GRADIENT, ("tl.trans(a), b", "a, b"))
)
adds_up_in_memory = wrong("10.4", stage="one block", says="Each block of dw has one program")(
    slip(
        GRADIENT,
        ("tl.store(at_dw, acc", "tl.atomic_add(at_dw, acc"),
    )
)
keeps_the_last_step = wrong("10.4", stage="the loop", says="Only the last step is left")(
    slip(GRADIENT, ("acc += tl.dot", "acc = tl.dot"))
)
takes_one_step = wrong("10.4", stage="the loop", says="Only the first BLOCK_ROWS rows")(
    slip(GRADIENT, ("range(begin, end,", "range(begin, begin + BLOCK_ROWS,"))
)
leaves_out_the_short_step = wrong("10.4", stage="the loop", says="The last rows are missing")(
    slip(GRADIENT, ("range(begin, end,", "range(begin, end - BLOCK_ROWS + 1,"))
)
stores_past_the_matrix = wrong("10.4", stage="edges", says="Only f below F and d below D")(
    slip(GRADIENT, ("mask=(f < F)[:, None] & (d < D)[None, :])\n", "mask=(d < D)[None, :])\n"))
)
begins_before_the_first = wrong("10.4", stage="one block", says="its rows begin at 0")(
    slip(GRADIENT, ("e - 1, mask=e > 0, other=0", "e - 1"))
)
begins_at_zero = wrong("10.4", stage="ragged", says="its loop begins where expert 0 ends")(
    slip(GRADIENT, ("range(begin, end", "range(0, end"))
)
takes_the_neighbours_row = wrong("10.4", stage="ragged", says="the fourth is the next expert's")(
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
skips_the_unemployed = wrong("10.4", stage="nobody's rows", says="when the loop never turns")(
    slip(GRADIENT, ("    acc = ", "    if begin == end:\n        return\n    acc = "))
)
sums_rows_in_half = wrong("10.4", stage="half precision", says="Many rows meet")(
    slip(
        GRADIENT,
        ("BLOCK_D), tl.float32", "BLOCK_D), rows_ptr.dtype.element_ty"),
        ('"ieee")', '"ieee").to(rows_ptr.dtype.element_ty)'),
    )
)

loads_dout_turned_round = right("10.4")(
    slip(
        GRADIENT,
        ("n[:, None] * F + f[None, :]", "n[None, :] * F + f[:, None]"),
        ("(n < end)[:, None] & (f < F)[None, :]", "(n < end)[None, :] & (f < F)[:, None]"),
        ("tl.trans(a)", "a"),
    )
)
row_by_row = right("10.4")(
    slip(
        GRADIENT[: GRADIENT.index("    for start")]
        + """
    for n in range(begin, end):
        a = tl.load(dout_ptr + n * F + f, mask=f < F, other=0.0).to(tl.float32)
        b = tl.load(rows_ptr + n * D + d, mask=d < D, other=0.0).to(tl.float32)
        acc += a[:, None] * b[None, :]
    at_dw = dw_ptr + (e * F + f[:, None]) * D + d[None, :]
    tl.store(at_dw, acc, mask=(f < F)[:, None] & (d < D)[None, :])
"""
    )
)
