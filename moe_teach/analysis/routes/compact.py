"""A record in few bytes: how each column is rounded, and back.

Ids and counts are stored exactly, in the narrowest of uint8, uint16 and int64 that holds them. The
others are rounded, unless they shall be exact:

- margins to float16: relative error 2^-11; below 6e-8 a margin becomes 0, infinity stays;
- gates to 8 bits: q = round(255 * sqrt(g / s)), where s is the largest gate of the layer in the
  chunk. A gate comes back as s * (q / 255)^2, at most sqrt(g * s) / 255 + s / 4 / 255^2 off: 0.4 %
  of the largest gate, and finer, in absolute numbers, the smaller the gate. A gate of 0 stays 0.

For 16 layers of 64 experts, 8 chosen, a token has 128 bytes of ids, 128 of gates, 32 of margins
and up to 13 of the rest: at 2 bytes for its id, 2 for its text, 2 for its place and 1 for its
domain, 295 bytes. What a capacity kept takes a bit for each choice.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8
from torch import Tensor

from moe_teach.analysis.routes.record import RouteRecord

IDS = ("token_ids", "sequence_ids", "positions", "domain_ids", "expert_ids")
LEVELS = 255


def to_columns(record: RouteRecord, exact: bool) -> dict[str, Tensor]:
    """Return a record's columns as they are stored."""
    columns = {name: narrowed(getattr(record, name)) for name in IDS}
    if exact:
        columns |= {"gates": record.gates.float(), "margins": record.margins.float()}
    else:
        columns["margins"] = record.margins.half()
        columns["gates"], columns["gate_scales"] = rounded(record.gates.float())
    if record.kept is not None:
        columns["kept"] = to_bits(record.kept)
    return columns


def from_columns(read: Callable[[str], Tensor], names: object, rows: slice) -> dict[str, Tensor]:
    """Return columns as a record holds them, of some rows alone: nothing else is decoded.

    Args:
        read: gives a stored column by its name, for example as a window on a file.
        names: which there are; anything that knows `in`.
        rows: from, to.
    """
    found = {name: read(name)[rows].long() for name in IDS}
    found["margins"] = read("margins")[rows].to(torch.float32, copy=True)
    codes = read("gates")[rows]
    if "gate_scales" in names:
        found["gates"] = restored(codes, read("gate_scales"))
    else:
        found["gates"] = codes.clone()
    if "kept" in names:
        found["kept"] = from_bits(read("kept")[rows], found["expert_ids"].shape)
    return found


def narrowed(ids: Int[Tensor, "..."]) -> Integer[Tensor, "..."]:
    """Return ids in the narrowest dtype that holds them all."""
    low, high = (int(end) for end in ids.aminmax()) if ids.numel() else (0, 0)
    for dtype in (torch.uint8, torch.uint16):
        if low >= 0 and high <= torch.iinfo(dtype).max:
            return ids.to(dtype)
    return ids.long()


def rounded(
    gates: Float[Tensor, "T L K"],
) -> tuple[UInt8[Tensor, "T L K"], Float[Tensor, " L"]]:
    """Round gates to 8 bits; the scale of a layer is its largest gate."""
    if not gates.numel():
        return gates.to(torch.uint8), gates.new_ones(gates.shape[1])
    scales = gates.amax((0, 2)).clamp_min(torch.finfo(torch.float32).tiny)
    shares = (gates / scales[:, None]).clamp_min(0).sqrt()
    return (LEVELS * shares).round().to(torch.uint8), scales


def restored(codes: UInt8[Tensor, "T L K"], scales: Float[Tensor, " L"]) -> Float[Tensor, "T L K"]:
    """Give gates back from their 8 bits."""
    return (codes.float() / LEVELS).square() * scales[:, None]


def to_bits(kept: Bool[Tensor, "T L K"]) -> UInt8[Tensor, "T _"]:
    """Pack eight choices of a token into a byte."""
    flat = kept.flatten(1)
    flat = torch.nn.functional.pad(flat, (0, -flat.shape[1] % 8)).unflatten(1, (-1, 8))
    return (flat * (1 << torch.arange(8))).sum(-1).to(torch.uint8)


def from_bits(bits: UInt8[Tensor, "T _"], shape: torch.Size) -> Bool[Tensor, "T L K"]:
    """Unpack what `to_bits` packed."""
    flat = (bits.long()[..., None] >> torch.arange(8)) & 1
    return flat.bool().flatten(1)[:, : shape[1:].numel()].reshape(shape)


def n_bytes(columns: Mapping[str, Tensor]) -> int:
    """How many bytes stored columns take."""
    return sum(column.nbytes for column in columns.values())
