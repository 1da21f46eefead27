"""Weights of a few bits: blocks of 32 neighbours in a row share one scale.

    weight  ~  scale * level[code] + offset          code: an integer of 4, 5 or 8 bits

`quantise` returns the codes and scales as tensors one can look at, `dequantise` the weights they
stand for, and `moe_teach.ops.quantise.packing` the bytes in which a GGUF file holds them. The
kinds are those of llama.cpp, so that whatever is quantised here also runs there:

    F32, F16, BF16      no codes: the number itself, rounded
    Q8_0                w = d * q             d = largest / 127,  q from -127 to 127
    Q5_0, Q4_0          w = d * (q - 16 | 8)  d so that the largest weight itself gets the lowest q
    Q4_1                w = d * q + m         from the smallest weight to the largest in 16 steps
    MXFP4               w = d * v[q]          d a power of two, v the sixteen values of 4-bit floats

d and m are stored in float16. The codes are chosen with the exact scale, before it is rounded:
so does llama.cpp, and that costs little. MXFP4 is the OCP microscaling format (MX specification
1.0, table of E2M1); the others are defined by ggml.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.ops.quantise.kinds import KINDS, Kind, kind_named

__all__ = ["KINDS", "Kind", "Quantised", "dequantise", "kind_named", "quantise"]


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """Weights as codes with scales: `codes` in the shape of the weights, the rest per block.

    `scales` and `offsets` are None where the kind has none.
    """

    kind: Kind
    codes: Shaped[Tensor, "*rows D"]
    scales: Float[Tensor, "*rows blocks"] | None = None
    offsets: Float[Tensor, "*rows blocks"] | None = None

    @property
    def n_bytes(self) -> int:
        """What the packed weights take, in memory or in a file."""
        return self.kind.n_bytes(self.codes.numel())


def quantise(weights: Shaped[Tensor, "*rows D"], kind: Kind | str) -> Quantised:
    """Round weights to a kind, block by block along the last axis.

    Args:
        weights: of any float dtype and layout; a matrix, or all experts of a layer (E, F, D). An
            expert's result depends on its own weights alone.
        kind: one of `KINDS`, or its name, such as "Q8_0".

    Raises:
        ValueError: the rows do not divide into blocks, a weight is no finite number, or it is too
            large for a scale in float16.
    """
    kind = kind_named(kind)
    demand_divisible(weights.shape[-1], kind)
    demand_finite(weights)
    precise = weights.detach().to(torch.float32)
    if kind.dtype is not None:
        record = Quantised(kind, precise.to(kind.dtype))
    else:
        codes, scales, offsets = kind.encode(precise.unflatten(-1, (-1, kind.block)))
        record = Quantised(kind, codes.flatten(-2), _flat(scales), _flat(offsets))
    _demand_held(record, precise)
    return record


def dequantise(record: Quantised) -> Float[Tensor, "*rows D"]:
    """Return the float32 weights that the codes stand for."""
    if record.scales is None:
        return record.codes.to(torch.float32)
    blocks = record.codes.unflatten(-1, (-1, record.kind.block))
    values = record.kind.values(blocks) * record.scales.to(torch.float32)[..., None]
    if record.offsets is not None:
        values = values + record.offsets.to(torch.float32)[..., None]
    return values.flatten(-2)


def demand_divisible(width: int, kind: Kind) -> None:
    """Refuse rows that do not divide into the blocks of a kind."""
    refuse(
        width % kind.block != 0 or width == 0,
        f"Rows of {width} weights do not divide into blocks of {kind.block}, and {kind.name} needs "
        f"that: choose BF16 or F32, or a width that is a multiple of {kind.block}.",
    )


def demand_finite(weights: Tensor) -> None:
    """Refuse weights that are no numbers, which a block would spread over its neighbours."""
    refuse(
        not weights.is_floating_point(),
        f"Only floating-point weights can be quantised, but these are {weights.dtype}.",
    )
    n_broken = int((~weights.isfinite()).sum())
    refuse(
        n_broken > 0,
        f"{n_broken} of {weights.numel()} weights are NaN or infinite: a model with such weights "
        "answers nothing, so look for the step of training that broke it.",
    )


def _demand_held(record: Quantised, weights: Tensor) -> None:
    stored = (record.codes, record.scales, record.offsets)
    if all(part is None or bool(part.isfinite().all()) for part in stored):
        return
    raise ValueError(
        f"The largest weight is {weights.abs().max():.3g}, beyond what {record.kind.name} can "
        "hold, whose numbers or scales are float16 and end at 65504: choose BF16 or F32."
    )


def _flat(per_block: Tensor | None) -> Tensor | None:
    return None if per_block is None else per_block.squeeze(-1)
