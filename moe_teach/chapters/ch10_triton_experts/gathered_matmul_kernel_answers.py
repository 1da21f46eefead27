"""Exercise 10.1: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch10_triton_experts.answer_parts import slip
from moe_teach.chapters.ch10_triton_experts.gathered_matmul_kernel import EXERCISE

LOOP = """
@triton.jit
def gathered_matmul_kernel(
    x_ptr, token_idx_ptr, w_ptr, out_ptr, tile_expert_ptr, tile_begin_ptr, tile_end_ptr,
    D, F, stride_e, stride_f, stride_d,
    BLOCK_ROWS: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_D: tl.constexpr,
):
    t = tl.program_id(0)
    e = tl.load(tile_expert_ptr + t).to(tl.int64)
    if e < 0:
        return
    n = tl.load(tile_begin_ptr + t) + tl.arange(0, BLOCK_ROWS)
    end = tl.load(tile_end_ptr + t)
    f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    token = tl.load(token_idx_ptr + n, mask=n < end, other=0).to(tl.int64)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_F), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        at_x = x_ptr + token[:, None] * D + d[None, :]
        at_w = w_ptr + e * stride_e + f[None, :] * stride_f + d[:, None] * stride_d
        a = tl.load(at_x, mask=(n < end)[:, None] & (d < D)[None, :], other=0.0)
        b = tl.load(at_w, mask=(f < F)[None, :] & (d < D)[:, None], other=0.0)
        acc += tl.dot(a, b, input_precision="ieee")
    at_out = out_ptr + n.to(tl.int64)[:, None] * F + f[None, :]
    tl.store(at_out, acc, mask=(n < end)[:, None] & (f < F)[None, :])
"""


forgets_the_gather = EXERCISE.wrong(stage="one tile", says="for the wrong rows")(
    slip(LOOP, ("token[:, None] * D", "n[:, None] * D"))
)


always_the_first_expert = EXERCISE.wrong(stage="one tile", says="matrix of expert 0")(
    slip(LOOP, ("e * stride_e + ", ""))
)


turns_the_matrix_round = EXERCISE.wrong(stage="one tile", says="turned round")(
    slip(LOOP, ("f[None, :] * stride_f + d[:, None]", "f[None, :] * stride_d + d[:, None]"),
         ("d[:, None] * stride_d", "d[:, None] * stride_f"))
)  # fmt: skip


never_stores = EXERCISE.wrong(stage="one tile", says="Where is the store")(
    slip(LOOP, ("acc, mask=(n < end)[:, None] &", "acc, mask=(n < 0)[:, None] &"))
)


stops_after_one_step = EXERCISE.wrong(stage="K loop", says="Only the first BLOCK_D steps")(
    slip(LOOP, ("range(0, D, BLOCK_D)", "range(0, BLOCK_D, BLOCK_D)"))
)


repeats_the_first_step = EXERCISE.wrong(stage="K loop", says="first block three times")(
    slip(LOOP, ("start + tl.arange(0, BLOCK_D)", "tl.arange(0, BLOCK_D)"))
)


replaces_the_sum = EXERCISE.wrong(stage="K loop", says="not replace it")(
    slip(LOOP, ("acc += tl.dot", "acc = tl.dot"))
)


stores_in_every_turn = EXERCISE.wrong(stage="K loop", says="stored again in every turn")(
    slip(LOOP, ("    at_out = ", "        at_out = "), ("    tl.store(at", "        tl.store(at"))
)


reads_past_d_in_x = EXERCISE.wrong(stage="edges", says="Mask both when you load from x")(
    slip(LOOP, ("mask=(n < end)[:, None] & (d < D)[None, :], other=0.0", "mask=d[None, :] < 2 * D"))
)


reads_past_f_in_w = EXERCISE.wrong(stage="edges", says="Mask both when you load from w")(
    slip(LOOP, ("mask=(f < F)[None, :] & (d < D)[:, None]", "mask=(d < D)[:, None]"))
)


wraps_round_at_d = EXERCISE.wrong(stage="edges", says="must count as 0.0")(
    slip(LOOP, ("start + tl.arange(0, BLOCK_D)", "(start + tl.arange(0, BLOCK_D)) % D"))
)


stores_whole_tiles = EXERCISE.wrong(stage="edges", says="Store under a mask")(
    slip(LOOP, ("acc, mask=(n < end)[:, None] & (f < F)[None, :])", "acc, mask=(f < F)[None, :])"))
)


counts_rows_by_tiles = EXERCISE.wrong(stage="groups", says="")(
    slip(LOOP, ("tl.load(tile_begin_ptr + t) +", "t * BLOCK_ROWS +"))
)


trusts_the_layout = EXERCISE.wrong(stage="strides", says="stored the other way round")(
    slip(LOOP, ("f[None, :] * stride_f + d[:, None] * stride_d", "f[None, :] * D + d[:, None]"))
)


sums_in_the_inputs_dtype = EXERCISE.wrong(stage="half precision", says="largest float16")(
    slip(
        LOOP,
        ("BLOCK_F), tl.float32", "BLOCK_F), x_ptr.dtype.element_ty"),
        ('"ieee")', '"ieee").to(x_ptr.dtype.element_ty)'),
    )
)


lets_the_gpu_cut_the_tiles = EXERCISE.wrong(stage="one tile", says="cut them to tf32")(
    slip(LOOP, (', input_precision="ieee"', ""))
)


narrow_rows_of_x = EXERCISE.wrong(stage="far apart", says="at_x = x_ptr + token")(
    slip(LOOP, ("other=0).to(tl.int64)", "other=0)"))
)


narrow_matrices = EXERCISE.wrong(stage="far apart", says="at_w = w_ptr + e")(
    slip(LOOP, ("tile_expert_ptr + t).to(tl.int64)", "tile_expert_ptr + t)"))
)


narrow_rows_of_out = EXERCISE.wrong(stage="far apart", says="at_out = out_ptr + n")(
    slip(LOOP, ("n.to(tl.int64)[:, None]", "n[:, None]"))
)


by_products_and_sums = EXERCISE.right(
    slip(LOOP, ('tl.dot(a, b, input_precision="ieee")',
                "tl.sum(a.to(tl.float32)[:, :, None] * b.to(tl.float32)[None, :, :], axis=1)"))
)  # fmt: skip


with_moving_addresses = EXERCISE.right(
    slip(
        LOOP,
        ("        d = start + tl.arange(0, BLOCK_D)\n", ""),
        ("    for start in", "    d = tl.arange(0, BLOCK_D)\n    for start in"),
        ('input_precision="ieee")\n', 'input_precision="ieee")\n        d += BLOCK_D\n'),
    )
)
