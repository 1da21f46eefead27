"""Chapter 09, exercise 9.6: a test that knows right kernels from broken ones."""

from collections.abc import Callable
from typing import Any

from moe_teach.chapters.ch09_triton_dispatch.favourites import BROKEN, RIGHT, Broken, built
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="9.6",
    name="is_right",
    title="Find what is wrong: everybody's favourite expert",
    points=3,
    difficulty=3,
    importance=4,
    minutes=25,
    needs=("9.4",),
    hints=(
        "Do not look at the kernels, you will see one only. Go through the contract line by line, "
        "and ask what a kernel that breaks this line would do on the example: nothing that shows. "
        "Then make an input on which it shows.",
        "Values: logits that are all negative, very negative, equal. Shapes: experts that are no "
        "power of two, tokens that do not fill their blocks, several programs, rows that are "
        "further apart than they are long. And what no value shows: launch under `watch`.",
        "for n_tokens, n_experts, gap in ((5, 3, 2), (9, 5, 0)): several logits, for example "
        "-(10.0 ** torch.randint(0, 6, ...)); logits = wide[:, :n_experts]; ids = "
        "torch.full((n_tokens,), -7, dtype=torch.int32); try: with watch(logits=logits, ids=ids) "
        "as seen: kernel[(triton.cdiv(n_tokens, 4),)](...) except KernelFault: return False; then "
        "compare with the first of the largest, and ask for seen.races().",
    ),
    explanation="Each of these faults has been published, in kernels that route tokens. All logits "
    "negative: FlashInfer issue 2822, and TransformerEngine pull request 2009, where zeros stood "
    "in the idle lanes of a maximum. Rows further apart than they are long: vLLM pull request "
    "57823, where a compiler had padded the router's logits from 60 to 64 columns. None of them "
    "raises; the model only gets worse. A test is as good as the broken kernels that it turns "
    "away, and a test that nobody has seen fail has proved nothing: that is why this exercise "
    "hands yours eight of them.",
)


def _answered(answer: Callable[[Any], Any], source: str) -> bool:
    """Ask the learner's test about a kernel; it must say True or False."""
    said = answer(built(source))
    require(
        isinstance(said, bool),
        "`is_right` must return True or False.",
        cause="A function without `return` gives None, and a comparison of tensors gives a tensor.",
        cure="End every way through it in `return True` or `return False`; bool(...) or "
        "torch.equal(...) makes one truth value of many.",
        got=said,
    )
    return said


def _demand_rejected(answer: Callable[[Any], Any], group: str) -> None:
    for broken in BROKEN[group]:
        _demand_one_rejected(answer, broken)


def _demand_one_rejected(answer: Callable[[Any], Any], broken: Broken) -> None:
    require(
        not _answered(answer, broken.source),
        "`is_right` says True of a broken kernel.",
        cause=broken.why.cause,
        cure=broken.why.cure,
        expected=Words("False"),
        got=Words("True"),
    )


@EXERCISE.stage("right kernels")
def _right_kernels(answer: Any, seed: int) -> None:
    if seed:  # the kernels stay the same, and each takes the interpreter many milliseconds
        return
    for way, source in RIGHT.items():
        require(
            _answered(answer, source),
            "`is_right` says False of a kernel that keeps its contract.",
            cause=f"This one {way}.",
            cure="Ask for what the contract promises and no more: the ids, nothing touched that is "
            "not the kernel's, and no order that a GPU leaves open.",
            expected=Words("True"),
            got=Words("False"),
        )


@EXERCISE.stage("the kernel above")
def _shown_kernel(answer: Any, seed: int) -> None:
    # A test that draws its logits may find these out by luck, so it has to for every seed.
    _demand_rejected(answer, "the kernel above")


@EXERCISE.stage("other values")
def _other_values(answer: Any, seed: int) -> None:
    _demand_rejected(answer, "other values")


@EXERCISE.stage("other shapes")
def _other_shapes(answer: Any, seed: int) -> None:
    if not seed:
        _demand_rejected(answer, "other shapes")


@EXERCISE.stage("strangers' memory")
def _strangers_memory(answer: Any, seed: int) -> None:
    if not seed:
        _demand_rejected(answer, "strangers' memory")


@EXERCISE.stage("open order")
def _open_order(answer: Any, seed: int) -> None:
    if not seed:
        _demand_rejected(answer, "open order")
