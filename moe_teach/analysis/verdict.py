"""How a law speaks: it demands, and says in a sentence what was seen instead."""

import torch
from torch import Tensor

from moe_teach.types import Routing


class LawBroken(AssertionError):
    """The layer does not obey; the message says what was seen."""


class CannotHold(Exception):
    """Mathematics forbids this law for this layer; the message says why."""


def kept(routing: Routing) -> Tensor:
    """Return which choices (T, K) are carried out, also where the record says "all" by None."""
    if routing.kept is None:
        return torch.ones_like(routing.expert_ids, dtype=torch.bool)
    return routing.kept


def why_neighbours_matter(routing: Routing | None) -> str:
    """Name the likely cause of an output that depends on other tokens."""
    if routing is None:
        return "Look for a capacity, or for a mean, a norm or a sort across tokens."
    if kept(routing).all():
        return "Nothing was dropped, so look for a mean, a norm or a sort across tokens."
    return "Choices were dropped: who is dropped depends on who else is in the batch."


def demand(condition: bool, seen: str) -> None:
    """Raise `LawBroken(seen)` unless the condition holds."""
    if not condition:
        raise LawBroken(seen)


def demand_close(got: Tensor, expected: Tensor, what: str, why: str = "") -> None:
    """Compare up to the rounding of another order of summation."""
    rounding = torch.finfo(got.dtype).eps ** 0.5 / 10
    gap = (got - expected.to(got.dtype)).detach().abs()
    limit = rounding * (1 + expected.detach().abs().max()) if gap.numel() else 1.0
    if gap.numel() and not bool((gap <= limit).all()):  # also true for NaN
        where = int(gap.reshape(len(gap) if gap.dim() else 1, -1).amax(dim=-1).argmax())
        place = f", most at token {where}" if gap.dim() else ""
        raise LawBroken(f"{what}: off by up to {gap.max().item():.3g}{place}. {why}".strip())
