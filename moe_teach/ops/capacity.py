"""Capacity: how many rows an expert may take, and who is turned away when it is full."""

from dataclasses import replace
from fractions import Fraction

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moe_teach.config import DropPolicy, refuse
from moe_teach.ops.demand import demand_expert_ids, demand_real
from moe_teach.types import Routing


def capacity_of(n_tokens: int, n_experts: int, top_k: int, capacity_factor: float) -> int:
    """Return ceil(capacity_factor * T * K / E), the rows one expert may take.

    A factor of 1 is just enough when the routing is perfectly even (Switch, arXiv 2101.03961,
    eq. 3, with the factor k of GShard).
    """
    refuse(capacity_factor <= 0, f"capacity_factor must be positive, but it is {capacity_factor}.")
    # As a fraction, because in binary 1.1 * 50 is a little more than 55 and would round up to 56.
    above, below = ratio_of(capacity_factor)
    return -(-above * n_tokens * top_k // (below * n_experts))


def ratio_of(factor: float) -> tuple[int, int]:
    """Return the two whole numbers whose ratio is `factor` as it is written in decimals."""
    return Fraction(str(factor)).as_integer_ratio()


def apply_capacity(
    routing: Routing,
    capacity: int,
    policy: DropPolicy,
    generator: torch.Generator | None = None,
    *,
    real: Bool[Tensor, " T"] | None = None,
    n_sequences: int = 1,
) -> Routing:
    """Return the routing with `kept` cleared for every choice beyond an expert's capacity.

    Args:
        routing: choices already cleared in it stay cleared and take no place.
        capacity: rows one expert may take, from `capacity_of`.
        policy: who comes first. "first_come" serves in the order of the flattened batch, so the
            last sequences lose most; "by_gate" serves the largest gates first
            (batch prioritised routing, Riquelme et al. 2021, arXiv 2106.05974); "random" draws.
        generator: source of the draw, for "random" only.
        real: the tokens that are text. Padding takes no place and is never kept, so with the
            capacity of the text alone the text is treated as if no padding were there.
        n_sequences: in how many sequences of equal length the tokens stand. An expert takes up to
            `capacity` rows of each of them, and no sequence takes another one's places.

    Returns:
        A new record. The gates of the others are *not* raised to make up for a dropped choice.
    """
    refuse(capacity < 0, f"capacity counts rows and cannot be negative, but it is {capacity}.")
    demand_real(real, routing)
    if not torch.compiler.is_dynamo_compiling():  # a graph cannot look at numbers on its way
        demand_expert_ids(routing.expert_ids, routing.n_experts)
    queue = _queue(routing.gates, policy, generator)
    desk, n_desks = _desks(routing, n_sequences)
    comes = routing.kept  # those who ask for a place
    if real is not None:
        comes = real[:, None].expand_as(routing.expert_ids) & (True if comes is None else comes)
    if comes is not None:
        desk = desk.masked_fill(~comes.flatten(), n_desks)
    kept = (_rank(desk, queue, n_desks) < capacity).view_as(routing.expert_ids)
    return replace(routing, kept=kept if comes is None else kept & comes)


def _desks(routing: Routing, n_sequences: int) -> tuple[Int[Tensor, " N"], int]:
    """Return where each flattened choice queues: an expert has a desk for each sequence."""
    desk = routing.expert_ids.flatten()
    if n_sequences > 1:
        refuse(
            len(routing.expert_ids) % n_sequences != 0,
            f"{len(routing.expert_ids)} tokens are not {n_sequences} sequences of equal length.",
        )
        first = torch.arange(n_sequences, device=desk.device) * routing.n_experts
        desk = desk + first.repeat_interleave(len(desk) // n_sequences)
    return desk, routing.n_experts * n_sequences


def _queue(
    gates: Float[Tensor, "T K"], policy: DropPolicy, generator: torch.Generator | None
) -> Int[Tensor, " N"]:
    """Return the flattened choices in the order in which they are served."""
    match policy:
        case "first_come":
            return torch.arange(gates.numel(), device=gates.device)
        case "by_gate":
            return gates.flatten().argsort(descending=True, stable=True)
        case "random":
            return torch.randperm(gates.numel(), generator=generator, device=gates.device)
    raise ValueError(f"Unknown policy {policy!r}: choose 'first_come', 'by_gate' or 'random'.")


def _rank(desk: Int[Tensor, " N"], queue: Int[Tensor, " N"], n_desks: int) -> Int[Tensor, " N"]:
    """Return each choice's place in the queue at its own desk, counted from 0."""
    # A stable sort by desk keeps the order of the queue at each desk.
    order = queue[desk[queue].argsort(stable=True)]
    sorted_desk = desk[order]
    # Found, not counted: how many numbers come out does not depend on the data.
    starts = torch.searchsorted(
        sorted_desk, torch.arange(n_desks + 1, device=order.device, dtype=desk.dtype)
    )
    places = torch.arange(order.numel(), device=order.device) - starts[sorted_desk.long()]
    return torch.empty_like(order).scatter_(0, order, places)
