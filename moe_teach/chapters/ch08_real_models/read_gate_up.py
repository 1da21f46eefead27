"""Chapter 08, exercise 8.2: the experts of gpt-oss, out of the four bits they are published in."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensors
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="8.2",
    name="read_gate_up",
    title="Read the experts of gpt-oss",
    points=3,
    difficulty=3,
    importance=3,
    minutes=20,
    hints=(
        "Do it in four steps: bytes to codes (two from each), codes to numbers (by a table of "
        "sixteen), times the scale of their block, and rows to gate and up. Print the shapes on "
        "the way.",
        "`blocks & 15` is the low half of a byte and `blocks >> 4` the high half; stacked along a "
        "new last axis and flattened they stand in the right order. A table wants `.long()` "
        "indices, and 100 - 127 is 229 in uint8.",
        "codes = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2); numbers = "
        "table[codes.long()] * 2.0 ** (scales.int() - 127)[..., None]; rows = numbers.flatten(-2); "
        "return rows[:, ::2], rows[:, 1::2]",
    ),
    explanation="Sixteen numbers are all that four bits can say; the scale of each block moves "
    "them to where they are needed, in powers of two, so that nothing is rounded on the way back. "
    "MXFP4 is a standard (OCP Microscaling Formats, 2023), and 4.25 bits a parameter are why "
    "gpt-oss-120b fits on one card of 80 GB. The rows stay interleaved because kernels like a gate "
    "and its partner side by side. Whoever takes the halves instead gets tensors of the right "
    "shape and a model that talks nonsense: vLLM 44893 found an accuracy of zero, after one side "
    "of an interface had changed its mind.",
)
PARTS = ("w_gate", "w_up")
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
CASES = ((1, 1, 1), (2, 3, 1), (3, 5, 2), (5, 2, 3))  # experts, F, blocks of 32 in D


def drawn(case: tuple[int, int, int], seed: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Draw packed blocks (E, 2F, D/32, 16), and their scales from [low, high)."""
    n_experts, d_ff, n_blocks = case
    numbers = generator(seed)
    shape = (n_experts, 2 * d_ff, n_blocks)
    blocks = torch.randint(0, 256, (*shape, 16), generator=numbers, dtype=torch.uint8)
    return blocks, torch.randint(low, high, shape, generator=numbers, dtype=torch.uint8)


def decoded(code: int) -> float:
    """Read one code of four bits: a sign, two bits of exponent and one of mantissa."""
    exponent, mantissa = code >> 1 & 3, code & 1
    size = mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1)
    return -size if code & 8 else size


def by_hand(blocks: Tensor, scales: Tensor, *, high_first: bool = False) -> Tensor:
    """Decode number by number, in Python: all rows (E, 2F, D) in float64."""
    rows = []
    for block, scale in zip(blocks.flatten(0, 2).tolist(), scales.flatten().tolist(), strict=True):
        halves = [
            (byte >> 4, byte & 15) if high_first else (byte & 15, byte >> 4) for byte in block
        ]
        rows.append([decoded(code) * 2.0 ** (scale - 127) for pair in halves for code in pair])
    return torch.tensor(rows, dtype=torch.float64).view(*scales.shape[:2], -1)


def _split(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows[:, ::2], rows[:, 1::2]


WRAPPED = Why(
    "Some numbers are infinite: 127 was subtracted in uint8, where 100 - 127 is 229.",
    "scales.int() - 127",
)


def _slips(blocks: Tensor, scales: Tensor) -> list[tuple[Any, Why]]:
    """What known mistakes give, and what to say to them."""
    rows = by_hand(blocks, scales)
    table = torch.tensor([decoded(code) for code in range(16)], dtype=torch.float64)
    factor = 2.0 ** (scales.double() - 127)[..., None]
    low, high = table[(blocks & 15).long()] * factor, table[(blocks >> 4).long()] * factor
    plain = torch.tensor([decoded(code % 8) for code in range(16)], dtype=torch.float64)
    both = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2).long()
    signed = torch.where(both > 7, both - 16, both).double()
    return [
        (tuple(rows.chunk(2, dim=1)), Why(
            "The first half of the rows was taken for the gate.",
            "Even rows are gate rows, odd rows are up rows: rows[:, ::2] and rows[:, 1::2].")),
        (_split(rows)[::-1], Why("Gate and up changed places.", "The even rows are the gate.")),
        (_split(by_hand(blocks, scales, high_first=True)), Why(
            "The high half of each byte was taken first.",
            "The first of two numbers is in the *low* four bits: blocks & 15.")),
        (_split(torch.cat([low, high], dim=-1).flatten(-2)), Why(
            "All low halves of a block come first and then all high halves.",
            "The two numbers of a byte are neighbours: stack them along a new last axis, then "
            "flatten.")),
        (_split((plain[both] * factor).flatten(-2)), Why(
            "The sign was lost: codes 8 to 15 are the negatives of 0 to 7.",
            "A table of sixteen: torch.cat([sizes, -sizes]).")),
        (_split((signed * factor).flatten(-2)), Why(
            "The codes were read as whole numbers from -8 to 7.",
            "They are floating-point numbers of four bits: look them up in the table.")),
        (_split(table[both].flatten(-2)), Why(
            "The scales have no effect.", "Multiply each block of 32 by its 2 ** (s - 127).")),
        (_split((table[both] * scales.double()[..., None]).flatten(-2)), Why(
            "The scale byte was used as the factor itself.",
            "It is an exponent: 2 ** (s - 127).")),
    ]  # fmt: skip


def _judge(answer: Any, blocks: Tensor, scales: Tensor, said: str) -> None:
    got = answer(blocks, scales)
    right = tuple(part.float() for part in _split(by_hand(blocks, scales)))
    given = {"blocks": blocks, "scales": scales}
    slips = [(tuple(p.float() for p in slip), why) for slip, why in _slips(blocks, scales)]
    why = likely(tuple(got), right, slips, Why("Decode one block of 32 by hand and compare."))
    if not all(bool(part.isfinite().all()) for part in got):
        why = WRAPPED._asdict()
    require(
        close(tuple(got), right),
        said,
        **why,
        expected=right,
        got=tuple(got),
        example=given,
    )


@EXERCISE.stage("shapes")
def _shapes(answer: Any, seed: int) -> None:
    for case in CASES:
        blocks, scales = drawn(case, seed, 120, 132)
        got = answer(blocks, scales)
        given = {"blocks": blocks, "scales": scales}
        require_tensors(got, PARTS, given)
        shape = (case[0], case[1], 32 * case[2])
        for name, part in zip(PARTS, got, strict=True):
            require(
                part.shape == shape,
                f"`{name}` has another shape than (E, F, D), here {shape}.",
                cause="Half of the rows belong to each matrix."
                if part.shape[1:2] == (2 * case[1],)
                else "A byte holds two numbers, and a block 32 of them.",
                cure="Bytes to codes doubles the last axis; then flatten blocks into D, and take "
                "every second row.",
                expected=Words(f"{shape}"),
                got=Words(f"{tuple(part.shape)}"),
                example=given,
            )
            require(
                part.dtype == torch.float32,
                f"`{name}` should be float32.",
                cure="table[codes.long()] has the dtype of the table.",
                expected=Words("torch.float32"),
                got=Words(str(part.dtype)),
                example=given,
            )


@EXERCISE.stage("the numbers")
def _numbers(answer: Any, seed: int) -> None:
    for case in CASES:
        blocks, scales = drawn(case, seed, 120, 134)
        _judge(answer, blocks, scales, "These are not the numbers that the file holds.")


@EXERCISE.stage("all scales")
def _scales(answer: Any, seed: int) -> None:
    for low, high in ((30, 60), (190, 220)):
        blocks, scales = drawn((2, 2, 1), seed, low, high)
        got, right = answer(blocks, scales), _split(by_hand(blocks, scales))
        far = [(one.double() / factor(scales)[:, at::2]) for at, one in enumerate(got)]
        near = [one / factor(scales)[:, at::2] for at, one in enumerate(right)]
        require(
            all(bool((a - b).abs().max() <= 1e-5) for a, b in zip(far, near, strict=True)),
            f"With scales between {low} and {high - 1} the numbers are others.",
            cause="The factor was rounded to a narrow dtype, or cut off: 2 ** (s - 127) goes from "
            "2 ** -127 to 2 ** 127.",
            cure="Raise 2.0 to the power in float32, or use torch.ldexp.",
            expected=tuple(part.float() for part in right),
            got=tuple(got),
            example={"blocks": blocks, "scales": scales},
        )


def factor(scales: Tensor) -> Tensor:
    """The factor of every number, (E, 2F, D), in float64."""
    return (2.0 ** (scales.double() - 127)).repeat_interleave(32, dim=-1)
