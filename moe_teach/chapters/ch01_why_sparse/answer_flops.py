"""Exercise 1.3: the FLOPs of a whole answer."""

import random
from typing import Any

from moe_teach.chapters.ch01_why_sparse.count_parts import require_exact, require_integer
from moe_teach.judging.exercise import Exercise, require

EXERCISE = Exercise(
    id="1.3",
    name="answer_flops",
    title="The FLOPs of a whole answer",
    points=2,
    difficulty=3,
    importance=3,
    minutes=15,
    hints=(
        "Count two things apart: how many tokens are computed at all, and how many pairs of a "
        "token and a position it sees there are.",
        "With one prompt token and one new token, one token is computed. In general it is "
        "n_prompt + n_new - 1 tokens, and they see 1, 2, 3, ... positions.",
        "n = n_prompt + n_new - 1; pairs = n * (n + 1) // 2; then 2 * n_matrix_params * n "
        "+ 4 * n_layers * n_heads * d_head * pairs.",
    ),
    explanation="The first term grows with the length, the second with its square. For short "
    "answers the matrices dominate, and only these shrink when experts rest: sparsity of the "
    "feed-forward does nothing for a long context.",
)


# matrix parameters, layers, heads, d_head, prompt, new
LENGTHS = (
    (1, 1, 1, 1, 1, 1),
    (5, 1, 1, 2, 1, 3),
    (7, 3, 2, 4, 4, 1),
    (101, 5, 4, 6, 11, 7),
    (46_000_000_001, 2, 3, 4099, 211, 37),  # past 32 bits, in both terms, and past 2^24
)


def _flops(sizes: tuple[int, ...], n_computed: int, n_pairs: int) -> int:
    n_params, n_layers, n_heads, d_head = sizes[:4]
    return 2 * n_params * n_computed + 4 * n_layers * n_heads * d_head * n_pairs


def _flops_example(sizes: tuple[int, ...]) -> dict[str, Any]:
    names = ("n_matrix_params", "n_layers", "n_heads", "d_head", "n_prompt", "n_new")
    return dict(zip(names, sizes, strict=True))


def _cases(seed: int) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    drawn = tuple(draw.randrange(2, 40) for _ in range(6))
    return [*LENGTHS, drawn]


@EXERCISE.stage("whole number")
def _flops_integer(answer: Any, seed: int) -> None:
    for sizes in _cases(seed):
        require_integer(answer(*sizes), "The number of FLOPs", _flops_example(sizes))


def _flops_mistakes(alone: tuple[int, ...]) -> tuple[tuple[int, str, str, str], ...]:
    """List what the usual slips count for one token, with symptom, cause and cure of each."""
    right = _flops(alone, 1, 1)
    _, n_layers, n_heads, d_head = alone[:4]
    # With more heads, half of attention may as well be a forgotten head.
    one_product = right - 2 * d_head if n_layers * n_heads == 1 else -1
    usual = (
        (
            right // 2,
            "Exactly half of it.",
            "A multiplication and an addition are two FLOPs, for matrices as for scores and "
            "mixing.",
            "Begin both terms with a 2: 2 * n_matrix_params, and 2 * d_head twice.",
        ),
        (
            one_product,
            "2 d_head FLOPs are missing.",
            "One of two products: 2 d_head for the score with a position, and 2 d_head more for "
            "mixing in its value.",
            "Count 4 * d_head for each position that a token sees.",
        ),
    )
    return usual + _flops_miscounts(alone)


def _flops_miscounts(alone: tuple[int, ...]) -> tuple[tuple[int, str, str, str], ...]:
    """List the slips in how many tokens there are, or positions that they see."""
    return (
        (
            0,
            "One token costs nothing here.",
            "One token too many is taken off: the only one that is left is that of the prompt.",
            "n_prompt + n_new - 1 tokens are computed.",
        ),
        (
            _flops(alone, 1, 2),
            "The token sees two positions here, and there is one.",
            "Position t = 0 sees t + 1 = 1 of them, itself; positions were counted from one.",
            "Let t run from 0 in `range(n_prompt + n_new - 1)`.",
        ),
        (
            2 * alone[0],
            "Attention costs nothing here.",
            "The first token sees one position, itself: t + 1 and not t.",
            "Sum t + 1 over the computed tokens: n (n + 1) / 2 for n of them.",
        ),
        (
            _flops(alone, 2, 3),
            "Two tokens were computed here, and one is enough.",
            "The answer's only token is written from the output at the prompt, and nobody "
            "computes with it any more.",
            "n_prompt + n_new - 1 tokens are computed.",
        ),
    )


@EXERCISE.stage("one token")
def _flops_one(answer: Any, seed: int) -> None:
    for sizes in _cases(seed):
        alone = (*sizes[:4], 1, 1)
        expected, got = _flops(alone, 1, 1), answer(*alone)
        tell = {"expected": expected, "got": got, "example": _flops_example(alone)}
        for mistaken, symptom, cause, cure in _flops_mistakes(alone):
            require(got != mistaken or got == expected, symptom, cause=cause, cure=cure, **tell)
        require_exact(got, expected, tell["example"])
        require(
            got == expected,
            "One prompt token and one new token make a single forward pass, and it costs another "
            "number of FLOPs.",
            cause="Layers or heads are left out of attention, or multiplied into the matrices; or "
            "another number of tokens than one is computed.",
            cure="It is 2 * n_matrix_params, plus n_layers * n_heads times 2 d_head for the score "
            "with itself and 2 d_head for mixing.",
            **tell,
        )


@EXERCISE.stage("matrices")
def _flops_matrices(answer: Any, seed: int) -> None:
    for sizes in _cases(seed):
        without = (*sizes[:2], 0, *sizes[3:])  # no heads: only the matrices are left
        n_computed = sizes[4] + sizes[5] - 1
        expected, got = _flops(without, n_computed, 0), answer(*without)
        require(
            got == expected,
            "Without heads only the matrices are left, and they work once for every computed "
            "token.",
            cause="With a cache every token is computed once: the prompt, and all new tokens but "
            "the last, which is written and never read.",
            cure="Multiply 2 * n_matrix_params by n_prompt + n_new - 1, with or without heads.",
            expected=expected,
            got=got,
            example=_flops_example(without),
        )


@EXERCISE.stage("attention")
def _flops_attention(answer: Any, seed: int) -> None:
    for sizes in _cases(seed):
        n_computed = sizes[4] + sizes[5] - 1
        expected = _flops(sizes, n_computed, n_computed * (n_computed + 1) // 2)
        got = answer(*sizes)
        require_exact(got, expected, _flops_example(sizes))
        require(
            got == expected,
            "The matrices alone are right, and with attention the number is another one.",
            cause="A token at position t sees t + 1 positions: itself and those before it, prompt "
            "and answer alike, not the whole final length. (And half of n may not be whole.)",
            cure="Sum t + 1 over t in range(n_prompt + n_new - 1), and multiply by 4 * n_layers * "
            "n_heads * d_head.",
            expected=expected,
            got=got,
            example=_flops_example(sizes),
        )


@EXERCISE.stage("large")
def _flops_large(answer: Any, _seed: int) -> None:
    sizes = (70_000_000_001, 3, 5, 7, 131_072, 2)  # past what a float holds exactly
    n_computed = sizes[4] + sizes[5] - 1
    expected = _flops(sizes, n_computed, n_computed * (n_computed + 1) // 2)
    require_exact(answer(*sizes), expected, _flops_example(sizes))
