"""Exercise 10.3: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch10_triton_experts.answer_parts import slip
from moe_teach.chapters.ch10_triton_experts.down_kernel import EXERCISE

EPILOGUE = """
@triton.jit
def down_kernel(
    h_ptr, w_ptr, gates_ptr, choice_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_F: tl.constexpr,
):
    t = tl.program_id(0)
    e = tl.load(tile_expert_ptr + t).to(tl.int64)
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + t) + tl.arange(0, BLOCK_ROWS)
    end = tl.load(tile_end_ptr + t)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    f = tl.arange(0, BLOCK_F)
    at_h = h_ptr + n.to(tl.int64)[:, None] * F + f[None, :]
    inner = tl.load(at_h, mask=(n < end)[:, None] & (f < F)[None, :], other=0.0)
    at_w = w_ptr + e * D * F + d[None, :] * F + f[:, None]
    matrix = tl.load(at_w, mask=(d < D)[None, :] & (f < F)[:, None], other=0.0)
    acc = tl.dot(inner, matrix, input_precision="ieee")
    place = tl.load(choice_ptr + n, mask=n < end, other=0).to(tl.int64)
    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)
    answer = acc * gate[:, None]
    is_mine = (n < end)[:, None] & (d < D)[None, :]
    tl.store(out_ptr + place[:, None] * D + d[None, :], answer, mask=is_mine)
"""


forgets_the_gates = EXERCISE.wrong(stage="gates", says="not weighed")(
    slip(EPILOGUE, ("acc * gate[:, None]", "acc"))
)


weighs_the_columns = EXERCISE.wrong(stage="gates", says="weigh the columns")(
    slip(EPILOGUE, ("gate[:, None]", "gate[None, :]"))
)


stores_nothing = EXERCISE.wrong(stage="gates", says="begins at out_ptr + c * D")(
    slip(EPILOGUE, ("answer, mask=is_mine", "answer, mask=is_mine & (n < 0)[:, None]"))
)


adds_to_what_is_there = EXERCISE.wrong(stage="gates", says="A plain store is enough")(
    slip(EPILOGUE, ("tl.store(", "tl.atomic_add("))
)


stays_in_row_order = EXERCISE.wrong(stage="places", says="stay where they are")(
    slip(EPILOGUE, ("out_ptr + place[:, None]", "out_ptr + n[:, None]"))
)


takes_the_gates_of_the_rows = EXERCISE.wrong(stage="places", says="somebody else's gates")(
    slip(EPILOGUE, ("gates_ptr + place", "gates_ptr + n"))
)


reads_choices_past_the_end = EXERCISE.wrong(stage="edges", says="Mask the load of `choice`")(
    slip(EPILOGUE, ("choice_ptr + n, mask=n < end, other=0", "choice_ptr + n"))
)


stores_the_overhang = EXERCISE.wrong(stage="edges", says="The fourth is nobody's answer")(
    slip(EPILOGUE, ("is_mine = (n < end)[:, None] &", "is_mine ="))
)


stores_past_the_columns = EXERCISE.wrong(stage="edges", says="columns from D on are not yours")(
    slip(EPILOGUE, ("[:, None] & (d < D)[None, :]\n    tl.store", "[:, None]\n    tl.store"))
)


rounds_before_the_gate = EXERCISE.wrong(stage="half precision", says="Multiply while it is still")(
    slip(EPILOGUE, ("acc * gate[:, None]", "acc.to(h_ptr.dtype.element_ty) * gate[:, None]"))
)


writes_with_narrow_offsets = EXERCISE.wrong(stage="far apart", says="tl.store(out_ptr + place")(
    slip(EPILOGUE, ("mask=n < end, other=0).to(tl.int64)", "mask=n < end, other=0)"))
)


gives_up_the_sign = EXERCISE.wrong(stage="far apart", says="with a sign or without")(
    slip(EPILOGUE, ("mask=n < end, other=0).to(tl.int64)", "mask=n < end, other=0).to(tl.uint32)"))
)


weighs_the_inner_rows = EXERCISE.right(
    slip(
        EPILOGUE,
        ("    place = tl.load(choice_ptr + n, mask=n < end, other=0).to(tl.int64)\n", ""),
        ("    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)\n", ""),
        (
            "    at_h = ",
            "    place = tl.load(choice_ptr + n, mask=n < end, other=0).to(tl.int64)\n"
            "    gate = tl.load(gates_ptr + place, mask=n < end, other=0.0)\n"
            "    at_h = ",
        ),
        ("dot(inner, matrix,", "dot(inner.to(tl.float32) * gate[:, None], matrix.to(tl.float32),"),
        ("acc * gate[:, None]", "acc"),
    )
)


with_a_column_of_places = EXERCISE.right(
    slip(
        EPILOGUE,
        ("choice_ptr + n, mask=n < end", "choice_ptr + n[:, None], mask=(n < end)[:, None]"),
        ("gates_ptr + place, mask=n < end", "gates_ptr + place, mask=(n < end)[:, None]"),
        ("gate[:, None]", "gate"),
        ("place[:, None]", "place"),
    )
)
