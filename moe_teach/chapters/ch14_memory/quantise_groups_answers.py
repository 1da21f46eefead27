"""Exercise 14.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import pad

from moe_teach.chapters.ch14_memory.quantise_groups import EXERCISE


def _answer(weights, bits, group_size, *, top=None, scale=None, made_with=None, whole=None):
    """Answer rightly, but for the one step that is given."""
    rows, columns = weights.shape
    top = top or 2 ** (bits - 1) - 1
    groups = pad(weights.float(), (0, -columns % group_size)).view(rows, -1, group_size)
    exact = scale(groups) if scale else groups.abs().amax(-1) / top
    scales = exact.half()
    used = torch.where(scales > 0, exact, 0) if made_with == "exact" else scales.float()
    codes = groups / torch.where(used > 0, used, torch.inf)[..., None]
    codes = whole(codes) if whole else codes.round().clamp(-top, top)
    return codes.to(torch.int8).view(rows, -1)[:, :columns], scales


@EXERCISE.wrong(stage="shapes", says="each row has its own")
def one_scale_for_each_row(weights, bits, group_size):
    codes, scales = _answer(weights, bits, weights.shape[1])
    return codes, scales


@EXERCISE.wrong(stage="shapes", says="a last, shorter group, which counts")
def forgets_the_rest_of_a_row(weights, bits, group_size):
    whole = weights.shape[1] // group_size * group_size
    return _answer(weights[:, :whole], bits, group_size)


@EXERCISE.wrong(stage="shapes", says="zeros that filled up")
def keeps_the_filling(weights, bits, group_size):
    full = pad(weights, (0, -weights.shape[1] % group_size))
    return _answer(full, bits, group_size)


@EXERCISE.wrong(stage="shapes", says="what will be stored")
def leaves_the_scales_in_float32(weights, bits, group_size):
    codes, scales = _answer(weights, bits, group_size)
    return codes, scales.float()


@EXERCISE.wrong(stage="zeros", says="0 / 0 is NaN")
def divides_zero_by_zero(weights, bits, group_size):
    codes, scales = _answer(weights, bits, group_size)
    each = scales.repeat_interleave(group_size, dim=1)[:, : weights.shape[1]]
    return torch.where(each > 0, codes, -128).to(torch.int8), scales


@EXERCISE.wrong(stage="zeros", says="zero in float16")
def asks_before_it_rounds(weights, bits, group_size):
    codes, scales = _answer(weights, bits, group_size)
    lost = (scales == 0).repeat_interleave(group_size, dim=1)[:, : weights.shape[1]]
    return torch.where(lost & (weights != 0), 7, codes).to(torch.int8), scales


@EXERCISE.wrong(stage="scales", says="-3 is larger than 2")
def forgets_the_negative_ones(weights, bits, group_size):
    top = 2 ** (bits - 1) - 1
    return _answer(weights, bits, group_size, scale=lambda g: g.amax(-1) / top)


@EXERCISE.wrong(stage="scales", says="codes are symmetric")
def uses_the_one_code_more(weights, bits, group_size):
    return _answer(weights, bits, group_size, top=2 ** (bits - 1))


@EXERCISE.wrong(stage="scales", says="One of the bits is the sign")
def counts_the_sign_as_a_digit(weights, bits, group_size):
    return _answer(weights, bits, group_size, scale=lambda g: g.abs().amax(-1) / 2**bits)


@EXERCISE.wrong(stage="scales", says="that of the row's largest weight")
def repeats_the_scale_of_the_row(weights, bits, group_size):
    def scale(groups):
        largest = groups.abs().amax(-1)
        return largest.amax(-1, keepdim=True).expand_as(largest) / (2 ** (bits - 1) - 1)

    return _answer(weights, bits, group_size, scale=scale)


@EXERCISE.wrong(stage="scales", says="not yet a scale")
def returns_the_largest_weight(weights, bits, group_size):
    return _answer(weights, bits, group_size, scale=lambda g: g.abs().amax(-1))


@EXERCISE.wrong(stage="scales", says="inverse of the scale")
def returns_the_inverse(weights, bits, group_size):
    codes, scales = _answer(weights, bits, group_size)
    top = 2 ** (bits - 1) - 1
    groups = pad(weights, (0, -weights.shape[1] % group_size)).view(len(weights), -1, group_size)
    inverse = torch.where(scales > 0, top / groups.abs().amax(-1), 0)
    return codes, inverse.half()


@EXERCISE.wrong(stage="zeros", says="something small in its place")
def divides_by_no_less_than_something_small(weights, bits, group_size):
    codes, scales = _answer(weights, bits, group_size)
    top = 2 ** (bits - 1) - 1
    groups = pad(weights.float(), (0, -weights.shape[1] % group_size)).view(*scales.shape, -1)
    codes = (groups / scales.float().clamp_min(1e-8)[..., None]).round().clamp(-top, top)
    return codes.to(torch.int8).view(len(weights), -1)[:, : weights.shape[1]], scales


@EXERCISE.wrong(stage="codes", says="beyond the last code")
def forgets_to_clamp(weights, bits, group_size):
    return _answer(weights, bits, group_size, whole=lambda codes: codes.round())


@EXERCISE.wrong(stage="codes", says="before it was rounded to float16")
def makes_codes_with_the_exact_scale(weights, bits, group_size):
    return _answer(weights, bits, group_size, made_with="exact")


@EXERCISE.wrong(stage="codes", says="cut off, not rounded")
def cuts_off(weights, bits, group_size):
    return _answer(weights, bits, group_size, whole=lambda codes: codes.trunc())


@EXERCISE.wrong(stage="narrow weights", says="in the weights' own few bits")
def computes_in_the_weights_dtype(weights, bits, group_size):
    top = 2 ** (bits - 1) - 1
    groups = pad(weights, (0, -weights.shape[1] % group_size)).view(len(weights), -1, group_size)
    scales = (groups.abs().amax(-1).float() / top).half()
    stored = scales.to(weights.dtype)[..., None]
    codes = (groups / torch.where(stored > 0, stored, torch.inf)).round().clamp(-top, top)
    return codes.to(torch.int8).view(len(weights), -1)[:, : weights.shape[1]], scales


@EXERCISE.wrong(stage="other layouts", says="read the memory in its order")
def reads_the_memory_in_its_order(weights, bits, group_size):
    plain = torch.as_strided(weights, weights.shape, (weights.shape[1], 1))
    return _answer(plain, bits, group_size)


@EXERCISE.right
def group_by_group(weights, bits, group_size):
    top = 2 ** (bits - 1) - 1
    codes, scales = [], []
    for row in weights.double():
        for group in row.split(group_size):
            scale = (group.abs().max() / top).to(torch.float16)
            scales.append(scale)
            exact = group / scale if scale > 0 else torch.zeros_like(group)
            codes.append((exact + 0.5).floor().clamp(-top, top))
    whole = torch.cat(codes).view(weights.shape).to(torch.int8)
    return whole, torch.stack(scales).view(len(weights), -1)


@EXERCISE.right
def with_numpy(weights, bits, group_size):
    import numpy as np

    table, top = weights.float().numpy(), 2 ** (bits - 1) - 1
    starts = np.arange(0, table.shape[1], group_size)
    scales = (np.maximum.reduceat(np.abs(table), starts, axis=1) / top).astype(np.float16)
    each = np.repeat(scales.astype(np.float32), group_size, axis=1)[:, : table.shape[1]]
    codes = np.divide(table, each, out=np.zeros_like(table), where=each > 0)
    whole = np.clip(np.rint(codes), -top, top).astype(np.int8)
    return torch.from_numpy(whole), torch.from_numpy(scales)
