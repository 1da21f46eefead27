"""Codes and scales as the bytes of a GGUF file, and back.

A block is written scale first, then the offset, then the codes. Two codes of four bits share a
byte: the one of weight i stands in the lower half, that of weight i + 16 in the upper. Of five
bits, the fifth ones of a block stand together in four bytes of their own. The exponent of an
MXFP4 scale is one byte, with 128 added.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.quantise import Kind, Quantised, kind_named

_FIVE_BITS = "Q5_0"
_EIGHT_BITS = "Q8_0"
_POWER_OF_TWO = "MXFP4"


def packed(record: Quantised) -> UInt8[Tensor, "*rows bytes"]:
    """Write codes and scales into bytes; a row of weights becomes a row of bytes."""
    kind = record.kind
    if record.scales is None:
        return record.codes.contiguous().view(torch.uint8)
    codes = record.codes.unflatten(-1, (-1, kind.block))
    parts = [_scale_bytes(record.scales, kind)]
    if record.offsets is not None:
        parts.append(record.offsets[..., None].contiguous().view(torch.uint8))
    if kind.name == _EIGHT_BITS:
        parts.append(codes.contiguous().view(torch.uint8))
    else:
        nibbles = codes.view(torch.uint8)
        if kind.name == _FIVE_BITS:
            parts.append(_joined_bits(nibbles >> 4))
        low, high = (nibbles & 15).chunk(2, dim=-1)
        parts.append(low | high << 4)
    return torch.cat(parts, dim=-1).flatten(-2)


def unpacked(content: UInt8[Tensor, "*rows bytes"], kind: Kind | str) -> Quantised:
    """Read codes and scales from bytes.

    Raises:
        ValueError: the bytes are no whole number of blocks.
    """
    kind = kind_named(kind)
    refuse(
        content.dtype is not torch.uint8 or content.shape[-1] % kind.block_bytes != 0,
        f"A block of {kind.name} takes {kind.block_bytes} bytes, but these rows are "
        f"{content.shape[-1]} of {content.dtype}: they hold another kind, or are cut.",
    )
    if kind.dtype is not None:
        return Quantised(kind, content.contiguous().view(kind.dtype))
    blocks = content.unflatten(-1, (-1, kind.block_bytes))
    scales, rest = _read_scales(blocks, kind)
    offsets = None
    if kind.name == "Q4_1":
        offsets, rest = _halves(rest[..., :2]), rest[..., 2:]
    if kind.name == _EIGHT_BITS:
        codes = rest.contiguous().view(torch.int8)
    else:
        high_bits, nibbles = rest[..., :-16], rest[..., -16:]
        codes = torch.cat([nibbles & 15, nibbles >> 4], dim=-1)
        if kind.name == _FIVE_BITS:
            codes = codes | _split_bits(high_bits) << 4
        codes = codes.view(torch.int8)
    return Quantised(kind, codes.flatten(-2), scales, offsets)


def _scale_bytes(scales: Tensor, kind: Kind) -> Tensor:
    if kind.name == _POWER_OF_TWO:
        exponent = torch.frexp(scales).exponent  # the power of two plus one
        return (exponent + 127).to(torch.uint8)[..., None]
    return scales[..., None].contiguous().view(torch.uint8)


def _read_scales(blocks: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    if kind.name == _POWER_OF_TWO:
        power = blocks[..., 0].float() - 128
        return torch.ldexp(torch.ones_like(power), power), blocks[..., 1:]
    return _halves(blocks[..., :2]), blocks[..., 2:]


def _halves(content: Tensor) -> Tensor:
    return content.contiguous().view(torch.float16).squeeze(-1)


def _joined_bits(bits: Tensor) -> Tensor:
    """Pack 32 bits (..., 32) into four bytes, the first bit lowest."""
    weights = 1 << torch.arange(8, device=bits.device)
    return (bits.unflatten(-1, (4, 8)) * weights).sum(dim=-1).to(torch.uint8)


def _split_bits(content: Tensor) -> Tensor:
    places = torch.arange(8, device=content.device, dtype=torch.uint8)
    return (content[..., None] >> places & 1).flatten(-2)
