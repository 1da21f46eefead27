"""Two other ways to mix: gates on what experts read, and experts that give their input back.

`moe_teach.nn.moe.MoE` puts them around dispatch, experts and combine, whose fast ways they leave
as they are.
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from moe_teach.types import Dispatched, Routing


def gates_of_rows(gates: Float[Tensor, "T K"], dispatched: Dispatched) -> Float[Tensor, " N"]:
    """Give each dispatched row the gate of its choice."""
    n_rows, slot = len(dispatched.token_idx), dispatched.slot.flatten().long()
    # Dropped choices all write to one place more, which is cut off.
    place = slot.where(slot >= 0, n_rows)
    return gates.new_zeros(n_rows + 1).scatter(0, place, gates.flatten())[:-1]


def without_identity(routing: Routing, n_identity: int) -> tuple[Routing, Float[Tensor, " T"]]:
    """Split off the last `n_identity` experts, which give their input back.

    Returns:
        The routing among the others, in which choices of those are dropped, and the sum of the
        gates that each token gives to its own vector (LongCat-Flash, arXiv 2509.01322).
    """
    n_computing = routing.n_experts - n_identity
    computes = routing.expert_ids < n_computing
    kept = computes if routing.kept is None else computes & routing.kept
    returns = ~computes if routing.kept is None else ~computes & routing.kept
    others = replace(
        routing,
        logits=routing.logits[:, :n_computing],
        probs=routing.probs[:, :n_computing],
        expert_ids=routing.expert_ids.where(computes, 0),
        kept=kept,
    )
    return others, routing.gates.masked_fill(~returns, 0).sum(dim=-1)
