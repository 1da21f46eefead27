"""Exercise 9.7: wrong answers with what they must be told, and other right ones."""

from collections.abc import Callable
from typing import Any

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed
from moe_teach.chapters.ch09_triton_dispatch.finish_layer import EXERCISE
from moe_teach.judging.launching import kernel_from

MIX = """\
@triton.jit
def kernel(y_ptr, gates_ptr, slot_ptr, out_ptr, D, K: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    mixture = tl.zeros((BLOCK,), tl.float32)
    for k in range(K):
        slot = tl.load(slot_ptr + token * K + k)
        gate = tl.load(gates_ptr + token * K + k)
        there = tl.where(slot >= 0, column < D, False)
        mixture += gate * tl.load(y_ptr + slot * D + column, mask=there, other=0.0)
    tl.store(out_ptr + token * D + column, mixture, mask=column < D)
"""
ADD = """\
@triton.jit
def kernel(x_ptr, out_ptr, D, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = tl.program_id(0) * D + column
    x = tl.load(x_ptr + at, mask=column < D)
    tl.store(out_ptr + at, x + tl.load(out_ptr + at, mask=column < D), mask=column < D)
"""
NORM = """\
@triton.jit
def kernel(out_ptr, weight_ptr, normed_ptr, D, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = tl.program_id(0) * D + column
    out = tl.load(out_ptr + at, mask=column < D, other=0.0)
    size = tl.sqrt(tl.sum(out * out, axis=0) / D + 1e-6)
    weight = tl.load(weight_ptr + column, mask=column < D)
    tl.store(normed_ptr + at, out / size * weight, mask=column < D)
"""
FUSED = """\
@triton.jit
def kernel(
    y_ptr, gates_ptr, slot_ptr, x_ptr, weight_ptr, out_ptr, normed_ptr, n_tokens, D,
    K: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK: tl.constexpr,
):
    token = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    column = tl.arange(0, BLOCK)
    is_token, is_column = token < n_tokens, column < D
    mine = is_token[:, None] & is_column[None, :]
    at = token[:, None] * D + column[None, :]
    out = tl.load(x_ptr + at, mask=mine, other=0.0)
    for k in range(K):
        slot = tl.load(slot_ptr + token * K + k, mask=is_token, other=-1)
        gate = tl.load(gates_ptr + token * K + k, mask=is_token, other=0.0)
        there = (slot >= 0)[:, None] & is_column[None, :]
        y = tl.load(y_ptr + slot[:, None] * D + column[None, :], mask=there, other=0.0)
        out += gate[:, None] * y
    size = tl.sqrt(tl.sum(out * out, axis=1) / D + 1e-6)
    weight = tl.load(weight_ptr + column, mask=is_column, other=0.0)
    tl.store(out_ptr + at, out, mask=mine)
    tl.store(normed_ptr + at, out / size[:, None] * weight[None, :], mask=mine)
"""
_CHOICES = (
    "    for k in range(K):\n" + FUSED.split("    for k in range(K):\n")[1].split("    size")[0]
)
_AT_ONCE = """\
    k = tl.arange(0, 4)[None, :]
    choice = token[:, None] * K + k
    asked = is_token[:, None] & (k < K)
    slot = tl.load(slot_ptr + choice, mask=asked, other=-1)[:, :, None]
    gate = tl.load(gates_ptr + choice, mask=asked, other=0.0)[:, :, None]
    there = (slot >= 0) & is_column[None, None, :]
    y = tl.load(y_ptr + slot * D + column[None, None, :], mask=there, other=0.0)
    out += tl.sum(gate * y, axis=1)
"""


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()


def fused(block_t: int, *changes: tuple[str, str]) -> Callable[..., Any]:
    """Make an answer of the fused kernel, with so many tokens in a program."""
    kernel = kernel_from(changed(FUSED, *changes), "kernel")

    def finish(y: Any, gates: Any, slot: Any, x: Any, weight: Any, out: Any, normed: Any) -> Any:
        n_tokens, d_model = x.shape
        sizes = (n_tokens, d_model, gates.shape[1], block_t, _power(d_model))
        kernel[(-(-n_tokens // block_t),)](y, gates, slot, x, weight, out, normed, *sizes)
        return out, normed

    return finish


def three(mix: str = MIX, add: str = ADD, norm: str = NORM) -> Callable[..., Any]:
    """Make an answer of three kernels."""
    mixing, adding, norming = (kernel_from(source, "kernel") for source in (mix, add, norm))

    def finish(y: Any, gates: Any, slot: Any, x: Any, weight: Any, out: Any, normed: Any) -> Any:
        (n_tokens, d_model), block = x.shape, _power(x.shape[1])
        mixing[(n_tokens,)](y, gates, slot, out, d_model, gates.shape[1], block)
        adding[(n_tokens,)](x, out, d_model, block)
        norming[(n_tokens,)](out, weight, normed, d_model, block)
        return out, normed

    return finish


in_fours = fused(4)


def _named(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    answer.__name__ = name
    return answer


def _wrong(name: str, answer: Callable[..., Any], stage: str, says: str) -> None:
    EXERCISE.wrong(stage=stage, says=says)(_named(name, answer))


_wrong("in_three_kernels", three(), "goal", "1.97")
_wrong("token_by_token", fused(1), "goal", "1.39")
_wrong("two_tokens_at_a_time", fused(2), "goal", "1.21")
_wrong("eight_tokens_at_a_time", fused(8), "work for many", "stores 8 tokens")
_wrong(
    "forgets_the_token_itself",
    fused(
        4,
        (
            "tl.load(x_ptr + at, mask=mine, other=0.0)",
            "tl.load(x_ptr + at, mask=mine, other=0.0) * 0",
        ),
    ),
    "the output",
    "was not added",
)
_wrong(
    "adds_no_answer",
    fused(4, ("out += gate[:, None] * y", "out += 0 * gate[:, None] * y")),
    "the output",
    "no answer",
)
_wrong(
    "norms_over_the_lanes",
    fused(4, ("axis=1) / D", "axis=1) / BLOCK")),
    "the norm",
    "idle ones too",
)
_wrong(
    "forgets_the_mean", fused(4, ("axis=1) / D", "axis=1)")), "the norm", "where their mean belongs"
)
_wrong(
    "forgets_the_weight",
    fused(4, ("* weight[None, :]", "* (weight[None, :] * 0 + 1)")),
    "the norm",
    "`weight` is missing",
)
_wrong(
    "one_size_for_all_tokens",
    fused(4, ("axis=1) / D", "axis=1) * 0 + tl.sum(out * out) / D")),
    "the norm",
    "a size of its own",
)
_wrong(
    "reads_slot_minus_one",
    fused(4, ("(slot >= 0)[:, None]", "is_token[:, None]")),
    "memory",
    "element -",
)
_wrong(
    "adds_up_in_old_numbers",
    three(
        mix=changed(
            MIX,
            (
                "column, mixture",
                "column, mixture + tl.load(out_ptr + token * D + column, mask=column < D)",
            ),
        )
    ),
    "everybody once",
    "before anybody has stored it",
)


_wrong("forgets_the_epsilon", fused(4, (" + 1e-6", "")), "the norm", "missing under the root")


@EXERCISE.wrong(stage="memory", says="Return the two outputs")
def returns_the_norm_alone(**given: Any) -> Any:
    return in_fours(**given)[1]


@EXERCISE.wrong(stage="everybody once", says="Nobody stores anything")
def lets_torch_do_it(
    y: Any, gates: Any, slot: Any, x: Any, weight: Any, out: Any, normed: Any
) -> Any:
    kept = (slot >= 0)[..., None]
    out.copy_(x + (gates[..., None] * y[slot.clamp(min=0).long()] * kept).sum(dim=1))
    normed.copy_(out / (out.square().mean(1, keepdim=True) + 1e-6).sqrt() * weight)
    return out, normed


EXERCISE.right(_named("finish_layer", fused(4)))
EXERCISE.right(_named("all_choices_in_one_load", fused(4, (_CHOICES, _AT_ONCE))))
