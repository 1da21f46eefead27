"""Exercise 8.2: wrong answers with what they must be told, and other right ones."""

import numpy as np
import torch

from moe_teach.chapters.ch08_real_models.read_gate_up import EXERCISE, MAGNITUDES

_SIZES = torch.tensor(MAGNITUDES)
_TABLE = torch.cat([_SIZES, -_SIZES])


def _codes(blocks):
    return torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2).long()


def _rows(codes, scales, table=_TABLE):
    return (table[codes] * 2.0 ** (scales.int() - 127)[..., None]).flatten(-2)


def _split(rows):
    return rows[:, ::2], rows[:, 1::2]


@EXERCISE.wrong(stage="shapes", says="A byte holds two numbers")
def takes_a_byte_for_a_number(blocks, scales):
    return _split(_rows((blocks & 15).long(), scales))


@EXERCISE.wrong(stage="shapes", says="Half of the rows belong to each")
def leaves_the_rows_together(blocks, scales):
    rows = _rows(_codes(blocks), scales)
    return rows, rows


@EXERCISE.wrong(stage="shapes", says="should be float32")
def answers_in_float64(blocks, scales):
    return _split(_rows(_codes(blocks), scales).double())


@EXERCISE.wrong(stage="the numbers", says="The first half of the rows")
def takes_the_halves(blocks, scales):
    return _rows(_codes(blocks), scales).chunk(2, dim=1)


@EXERCISE.wrong(stage="the numbers", says="Gate and up changed places")
def takes_up_first(blocks, scales):
    return _split(_rows(_codes(blocks), scales))[::-1]


@EXERCISE.wrong(stage="the numbers", says="The high half of each byte")
def reads_the_high_half_first(blocks, scales):
    return _split(_rows(_codes(blocks >> 4 | blocks << 4), scales))


@EXERCISE.wrong(stage="the numbers", says="All low halves of a block come first")
def puts_low_halves_before_high_ones(blocks, scales):
    codes = torch.cat([blocks & 15, blocks >> 4], dim=-1).long()
    return _split(_rows(codes, scales))


@EXERCISE.wrong(stage="the numbers", says="127 was subtracted in uint8")
def subtracts_in_uint8(blocks, scales):
    factor = torch.ldexp(torch.ones(()), (scales - 127).int())[..., None]
    return _split((_TABLE[_codes(blocks)] * factor).flatten(-2))


@EXERCISE.wrong(stage="the numbers", says="The sign was lost")
def forgets_the_sign(blocks, scales):
    return _split(_rows(_codes(blocks) & 7, scales))


@EXERCISE.wrong(stage="the numbers", says="whole numbers from -8 to 7")
def reads_integers(blocks, scales):
    codes = _codes(blocks)
    signed = torch.where(codes > 7, codes - 16, codes)
    return _split((signed * 2.0 ** (scales.int() - 127)[..., None]).flatten(-2))


@EXERCISE.wrong(stage="the numbers", says="The scales have no effect")
def forgets_the_scales(blocks, scales):
    return _split(_TABLE[_codes(blocks)].flatten(-2))


@EXERCISE.wrong(stage="the numbers", says="used as the factor itself")
def multiplies_by_the_byte(blocks, scales):
    return _split((_TABLE[_codes(blocks)] * scales[..., None]).flatten(-2))


@EXERCISE.wrong(stage="all scales", says="rounded to a narrow dtype")
def goes_through_float16(blocks, scales):
    factor = (2.0 ** (scales.int() - 127)).half().float()[..., None]
    return _split((_TABLE[_codes(blocks)] * factor).flatten(-2))


@EXERCISE.right
def with_ldexp(blocks, scales):
    numbers = torch.ldexp(_TABLE[_codes(blocks)], scales.int()[..., None] - 127)
    gate, up = numbers.flatten(-2).unflatten(1, (-1, 2)).unbind(2)
    return gate, up


@EXERCISE.right
def in_numpy(blocks, scales):
    packed = blocks.numpy()
    codes = np.empty((*packed.shape[:-1], 32), dtype=np.int64)
    codes[..., 0::2], codes[..., 1::2] = packed % 16, packed // 16
    numbers = _TABLE.numpy()[codes] * np.exp2(scales.numpy().astype(np.float32) - 127)[..., None]
    rows = torch.from_numpy(numbers.astype(np.float32)).flatten(2)
    return rows[:, 0::2], rows[:, 1::2]


@EXERCISE.right
def by_the_bits_of_a_float32(blocks, scales):
    codes = _codes(blocks)
    exponent, mantissa = codes >> 1 & 3, codes & 1
    size = torch.where(exponent == 0, mantissa / 2, (1 + mantissa / 2) * 2.0 ** (exponent - 1))
    numbers = torch.where(codes > 7, -size, size).double()
    rows = (numbers * 2.0 ** (scales.double() - 127)[..., None]).float().flatten(-2)
    return rows[:, ::2], rows[:, 1::2]
