"""Exercise 9.6: kernels that choose each token's favourite expert, some right and some broken.

All of them are right for eight tokens, four experts and one program, on the example that the text
shows.
"""

from functools import cache
from typing import Any, NamedTuple

from moe_teach.chapters.ch09_triton_dispatch.answer_parts import changed
from moe_teach.judging.launching import kernel_from
from moe_teach.judging.reasons import Why

# Somebody's kernel, as the exercise prints it.
SHOWN = """\
@triton.jit
def favourite(
    logits_ptr, expert_ids_ptr, n_tokens, n_experts, stride,
    BLOCK_T: tl.constexpr, EXPERTS: tl.constexpr,
):
    token = BLOCK_T * tl.program_id(0) + tl.arange(0, BLOCK_T)
    e = tl.arange(0, EXPERTS)
    inside = (token < n_tokens)[:, None] & (e < n_experts)[None, :]
    at = token[:, None] * stride + e[None, :]
    logits = tl.load(logits_ptr + at, mask=inside, other=0.0)
    best = tl.argmax(logits, axis=1)
    tl.store(expert_ids_ptr + token, best, mask=token < n_tokens)
"""
_RIGHT = changed(SHOWN, ("other=0.0", 'other=float("-inf")'))
_BEST = "best = tl.argmax(logits, axis=1)"
_LARGEST = "equal = logits == tl.max(logits, axis=1)[:, None]\n    "
_ONE_BY_ONE = """\
@triton.jit
def favourite(
    logits_ptr, expert_ids_ptr, n_tokens, n_experts, stride,
    BLOCK_T: tl.constexpr, EXPERTS: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_T
    for token in range(first, tl.minimum(first + BLOCK_T, n_tokens)):
        best = 0
        largest = tl.load(logits_ptr + token * stride)
        for expert in range(1, n_experts):
            logit = tl.load(logits_ptr + token * stride + expert)
            best = tl.where(logit > largest, expert, best)
            largest = tl.maximum(logit, largest)
        tl.store(expert_ids_ptr + token, best)
"""
RIGHT = {
    "fills idle lanes with minus infinity": _RIGHT,
    "leaves idle lanes open, and replaces what they hold before it looks at them": changed(
        _RIGHT,
        (', other=float("-inf")', ""),
        (_BEST, f"{_BEST}".replace("logits,", 'tl.where(inside, logits, float("-inf")),')),
    ),
    "looks for the smallest id among the largest logits": changed(
        _RIGHT,
        (_BEST, f"{_LARGEST}best = tl.min(tl.where(equal, e[None, :], EXPERTS), axis=1)"),
    ),
    "takes one token and one expert after the other": _ONE_BY_ONE,
}


class Broken(NamedTuple):
    """A kernel that is wrong, what it does, and what would have shown it."""

    source: str
    why: Why


BROKEN = {
    "the kernel above": (
        Broken(
            SHOWN,
            Why(
                "It is the kernel that the text shows. Some tokens get an expert that does not "
                "exist.",
                "Launch it where EXPERTS is larger than n_experts, with logits that are all "
                "negative: then 0.0 is the largest.",
            ),
        ),
    ),
    "other values": (
        Broken(
            changed(_RIGHT, ('float("-inf")', "-1000.0")),
            Why(
                "It fills idle lanes with -1000, which is small and not small enough.",
                "Try logits below that, with EXPERTS larger than n_experts.",
            ),
        ),
        Broken(
            changed(
                _RIGHT,
                (_BEST, f"{_LARGEST}best = tl.max(tl.where(equal, e[None, :], -1), axis=1)"),
            ),
            Why(
                "Of equal logits it takes the largest id.",
                "Random floats are never equal: try whole numbers, or the same one everywhere.",
            ),
        ),
    ),
    "other shapes": (
        Broken(
            changed(_RIGHT, ("token[:, None] * stride", "token[:, None] * n_experts")),
            Why(
                "It takes the number of experts for the distance of the rows.",
                "Hand it some columns of a wider tensor, whose stride is not n_experts.",
            ),
        ),
        Broken(
            changed(_RIGHT, ("BLOCK_T * tl.program_id(0) + ", "")),
            Why(
                "All its programs work on the first block of tokens.",
                "Launch it with more tokens than BLOCK_T, into ids that are no experts before.",
            ),
        ),
    ),
    "strangers' memory": (
        Broken(
            changed(_RIGHT, ("best, mask=token < n_tokens", "best")),
            Why(
                "It stores ids behind the end of `expert_ids`.",
                "With 5 tokens in blocks of 4, watch it, or look at a margin behind the output.",
            ),
        ),
        Broken(
            changed(_RIGHT, ("(token < n_tokens)[:, None] & ", "(token >= 0)[:, None] & ")),
            Why(
                "It reads logits behind the end of `logits`, and uses none of them: no value shows "
                "that.",
                "Launch it under `watch`, with a number of tokens that does not fill the blocks, "
                "and take a KernelFault for False.",
            ),
        ),
    ),
    "open order": (
        Broken(
            _RIGHT
            + "    after = (tl.program_id(0) + 1) * BLOCK_T\n"
            + "    tl.store(expert_ids_ptr + after, -1, mask=after < n_tokens)\n",
            Why(
                "Each program stores -1 into the first place of the next block. The interpreter "
                "runs the next program later, which puts it right; a GPU need not.",
                "Launch several programs under `watch`, and look at seen.races().",
            ),
        ),
    ),
}


@cache
def built(source: str) -> Any:
    """Make a kernel of its source; the interpreter rewrites each one that it has not met."""
    return kernel_from(source, "favourite")
