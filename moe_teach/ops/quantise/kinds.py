"""The kinds of quantisation: how each chooses codes and scales, and what its codes stand for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.config import refuse

Encoded = tuple[Tensor, Tensor, Tensor | None]
"""Codes (..., block), scales (..., 1) and offsets (..., 1) or None."""

# The numbers that four bits make as sign, two bits of exponent and one of mantissa, doubled.
E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


@dataclass(frozen=True, eq=False)
class Kind:
    """One way to write weights down.

    A block of `block` weights takes `block_bytes`. A kind with a `dtype` has no codes: its weights
    are rounded one by one. The others choose codes by `encode`, and `values` says what codes stand
    for before they are scaled.
    """

    name: str
    block: int
    block_bytes: int
    dtype: torch.dtype | None = None
    encode: Callable[[Tensor], Encoded] | None = None
    values: Callable[[Tensor], Tensor] | None = None

    @property
    def bits(self) -> float:
        """Bits for one weight, its share of the scale included."""
        return 8 * self.block_bytes / self.block

    def n_bytes(self, n_weights: int) -> int:
        """Bytes for so many weights."""
        return n_weights // self.block * self.block_bytes


def kind_named(kind: Kind | str) -> Kind:
    """Return the kind of that name."""
    if isinstance(kind, Kind):
        return kind
    refuse(
        kind not in KINDS,
        f"There is no kind of quantisation called {kind!r}: choose one of {', '.join(KINDS)}.",
    )
    return KINDS[kind]


def _inverse(scale: Tensor) -> Tensor:
    """Return 1 / scale; 0 where the scale is 0, or so small that float16 will write it as 0."""
    inverse = scale.reciprocal()
    return torch.where(inverse.isfinite(), inverse, 0.0)


def _away_from_zero(x: Tensor) -> Tensor:
    """Round halves away from zero as C does; torch would round them to even."""
    whole = x.abs().floor()
    return x.sign() * (whole + (2 * (x.abs() - whole)).floor())


def _by_largest(blocks: Tensor) -> Encoded:
    """Q8_0: the largest absolute value becomes 127."""
    scale = blocks.abs().amax(dim=-1, keepdim=True) / 127
    codes = _away_from_zero(blocks * _inverse(scale))
    return codes.to(torch.int8), scale.half(), None


def _by_signed_largest(n_codes: int) -> Callable[[Tensor], Encoded]:
    """Q4_0, Q5_0: codes reach one further below zero than above, and the largest weight goes there.

    So the scale is negative where the largest weight is positive.
    """
    half = n_codes // 2

    def encode(blocks: Tensor) -> Encoded:
        place = blocks.abs().argmax(dim=-1, keepdim=True)
        scale = blocks.gather(-1, place) / -half
        codes = (blocks * _inverse(scale) + (half + 0.5)).trunc().clamp(0, n_codes - 1)
        return codes.to(torch.int8), scale.half(), None

    return encode


def _by_range(blocks: Tensor) -> Encoded:
    """Q4_1: sixteen steps from the smallest weight to the largest."""
    low, high = blocks.aminmax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    codes = ((blocks - low) * _inverse(scale) + 0.5).trunc().clamp(0, 15)
    return codes.to(torch.int8), scale.half(), low.half()


def _by_power_of_two(blocks: Tensor) -> Encoded:
    """MXFP4: the power of two that brings the largest weight below 8; then the nearest value.

    The scale stands for half of it, because the table holds doubled values. Above 6 there is no
    value any more: what lies there is cut.
    """
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    power = largest.log2().floor().clamp(-125, 127)  # of zeros it is minus infinity
    power = torch.where(largest > 0, power, -125.0)
    scale = torch.ldexp(torch.ones_like(power), power - 3)
    distance = (scale[..., None] * _table(blocks) - blocks[..., None]).abs()
    return distance.argmin(dim=-1).to(torch.int8), scale, None


def _table(like: Tensor) -> Tensor:
    return torch.tensor(E2M1, dtype=torch.float32, device=like.device)


def _minus(half: int) -> Callable[[Tensor], Tensor]:
    return lambda codes: codes.float() - half


KINDS = {
    kind.name: kind
    for kind in (
        Kind("F32", 1, 4, torch.float32),
        Kind("F16", 1, 2, torch.float16),
        Kind("BF16", 1, 2, torch.bfloat16),
        Kind("Q8_0", 32, 34, None, _by_largest, lambda codes: codes.float()),
        Kind("Q5_0", 32, 22, None, _by_signed_largest(32), _minus(16)),
        Kind("Q4_1", 32, 20, None, _by_range, lambda codes: codes.float()),
        Kind("Q4_0", 32, 18, None, _by_signed_largest(16), _minus(8)),
        Kind("MXFP4", 32, 17, None, _by_power_of_two, lambda codes: _table(codes)[codes.long()]),
    )
}
"""By the names that llama.cpp gives them, from the largest to the smallest."""
