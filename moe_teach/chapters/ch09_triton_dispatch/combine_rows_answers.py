"""Exercise 9.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed, kernel
from moe_teach.chapters.ch09_triton_dispatch.combine_rows import EXERCISE

COMBINE = """\
@triton.jit
def kernel(
    y_ptr, gates_ptr, slot_ptr, out_ptr, n_tokens, d_model,
    TOP_K: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mine = (token < n_tokens)[:, None] & (column < d_model)[None, :]
    mixture = tl.zeros((BLOCK_T, BLOCK_D), dtype=tl.float32)
    for k in range(TOP_K):
        slot = tl.load(slot_ptr + token * TOP_K + k, mask=token < n_tokens, other=-1)
        slot = slot.to(tl.int64)
        gate = tl.load(gates_ptr + token * TOP_K + k, mask=token < n_tokens, other=0.0)
        there = (slot >= 0)[:, None] & (column < d_model)[None, :]
        answer = tl.load(
            y_ptr + slot[:, None] * d_model + column[None, :], mask=there, other=0.0
        )
        mixture += gate[:, None] * answer
    row = token.to(tl.int64)
    tl.store(out_ptr + row[:, None] * d_model + column[None, :], mixture, mask=mine)
"""


_ROW = "    row = token.to(tl.int64)\n"
_STORE = "    tl.store" + COMBINE.rsplit("    tl.store", 1)[1]
_ADD = changed(_STORE, ("store", "atomic_add"), (", mix", ", 1.0 * mix"))


@EXERCISE.wrong(stage="nobody served", says="which has no elements at all")
@kernel
def sends_empty_lanes_to_row_zero():
    return changed(COMBINE, ("mask=token < n_tokens, other=-1", "mask=token < n_tokens, other=0"))


@EXERCISE.wrong(stage="everybody once", says="with an atomic operation")
@kernel
def adds_atomically():
    return changed(
        COMBINE,
        ("mixture += gate", "mixture = gate"),
        (_ROW + _STORE, "    " + _ROW + "    " + _ADD),
    )


@EXERCISE.wrong(stage="everybody once", says="Add up in a variable")
@kernel
def adds_up_in_the_output():
    place = "out_ptr + token[:, None] * d_model + column[None, :]"
    return changed(
        COMBINE,
        ("mixture += gate", f"mixture = tl.load({place}, mask=mine) + gate"),
        (_ROW + _STORE, "    " + _ROW + "    " + _STORE),
    )


@EXERCISE.wrong(stage="mixture", says="without their gates")
@kernel
def adds_without_gates():
    return changed(COMBINE, ("gate[:, None] * answer", "answer"))


@EXERCISE.wrong(stage="mixture", says="Only the last choice")
@kernel
def keeps_only_the_last_choice():
    return changed(COMBINE, ("mixture += gate", "mixture = gate"))


@EXERCISE.wrong(stage="mixture", says="Slot 0 is a row like any other")
@kernel
def overlooks_row_zero():
    return changed(COMBINE, ("slot >= 0", "slot > 0"))


@EXERCISE.wrong(stage="mixture", says="still wrong")
@kernel
def takes_the_gate_of_the_slot():
    return changed(COMBINE, ("gates_ptr + token * TOP_K + k", "gates_ptr + token + k * n_tokens"))


@EXERCISE.wrong(stage="turned away", says="a -1 there stands for nothing")
@kernel
def reads_slot_minus_one():
    return changed(COMBINE, ("(slot >= 0)[:, None]", "(token < n_tokens)[:, None]"))


@EXERCISE.wrong(stage="turned away", says="Read from row 0 instead")
@kernel
def clamps_the_dropped_to_row_zero():
    return changed(
        COMBINE,
        ("(slot >= 0)[:, None]", "(token < n_tokens)[:, None]"),
        ("slot[:, None] * d_model", "tl.maximum(slot, 0)[:, None] * d_model"),
    )


@EXERCISE.wrong(stage="turned away", says="were raised")
@kernel
def raises_the_other_gates():
    return changed(
        COMBINE,
        ("dtype=tl.float32)", "dtype=tl.float32)\n    total = tl.zeros((BLOCK_T,), tl.float32)"),
        ("mixture += ", "total += tl.where(slot >= 0, gate, 0.0)\n        mixture += "),
        ("    tl.store", "    mixture = mixture / tl.maximum(total, 1e-6)[:, None]\n    tl.store"),
    )


@EXERCISE.wrong(stage="nobody served", says="have to be stored too")
@kernel
def skips_tokens_without_experts():
    return changed(
        COMBINE,
        ("dtype=tl.float32)", "dtype=tl.float32)\n    served = token < 0"),
        ("mixture += ", "served = served | (slot >= 0)\n        mixture += "),
        ("mask=mine", "mask=tl.where(tl.sum(served.to(tl.int32)) > 0, mine, False)"),
    )


@EXERCISE.wrong(stage="precision", says="no odd numbers above 2048")
@kernel
def sums_in_half_precision():
    return changed(
        COMBINE,
        ("dtype=tl.float32", "dtype=tl.float16"),
        ("gate[:, None] * answer", "(gate[:, None] * answer).to(tl.float16)"),
    )


@EXERCISE.wrong(stage="precision", says="neither that gate nor that product")
@kernel
def rounds_the_products():
    return changed(COMBINE, ("gate[:, None] * answer", "(gate[:, None] * answer).to(tl.float16)"))


@EXERCISE.wrong(stage="far apart", says="y_ptr + slot[:, None] * d_model")
@kernel
def reads_with_narrow_offsets():
    return changed(COMBINE, ("        slot = slot.to(tl.int64)\n", ""))


@EXERCISE.wrong(stage="far apart", says="tl.store(out_ptr + row[:, None] * d_model")
@kernel
def writes_with_narrow_offsets():
    return changed(COMBINE, ("token.to(tl.int64)", "token"))


@EXERCISE.right
@kernel
def all_choices_in_one_load():
    return """\
@triton.jit
def kernel(
    y_ptr, gates_ptr, slot_ptr, out_ptr, n_tokens, d_model,
    TOP_K: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = (tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D))[None, None, :]
    k = tl.arange(0, 4)
    there = (token < n_tokens)[:, None] & (k < TOP_K)[None, :]
    at = token[:, None] * TOP_K + k[None, :]
    slot = tl.load(slot_ptr + at, mask=there, other=-1).to(tl.int64)[:, :, None]
    gate = tl.load(gates_ptr + at, mask=there, other=0.0)[:, :, None]
    answer = tl.load(
        y_ptr + slot * d_model + column, mask=(slot >= 0) & (column < d_model), other=0.0
    )
    mixture = tl.sum(gate * answer.to(tl.float32), axis=1)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mine = (token < n_tokens)[:, None] & (column < d_model)[None, :]
    place = token.to(tl.int64)[:, None] * d_model + column[None, :]
    tl.store(out_ptr + place, mixture, mask=mine)
"""


@EXERCISE.right
@kernel
def one_token_after_the_other():
    return """\
@triton.jit
def kernel(
    y_ptr, gates_ptr, slot_ptr, out_ptr, n_tokens, d_model,
    TOP_K: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_T
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    for token in range(first, tl.minimum(first + BLOCK_T, n_tokens)):
        mixture = tl.zeros((BLOCK_D,), dtype=tl.float32)
        for k in range(TOP_K):
            slot = tl.load(slot_ptr + token * TOP_K + k).to(tl.int64)
            gate = tl.load(gates_ptr + token * TOP_K + k)
            there = tl.where(slot >= 0, column < d_model, False)
            answer = tl.load(y_ptr + slot * d_model + column, mask=there, other=0.0)
            mixture = tl.where(there, mixture + gate * answer, mixture)
        place = token * d_model.to(tl.int64) + column
        tl.store(out_ptr + place, mixture, mask=column < d_model)
"""
