"""Lets a router of transformers decide otherwise for a while, by a hook that changes its answer.

    with rerouted(blocks_of(model)[3], lambda routing: ...):
        model(token_ids)

No weight is touched. Only classes that answer logits, gates and expert ids can be asked: what they
answer is what their block computes with. A gate of 0 drops a choice, as a capacity does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.analysis.routes.hooks import WatchedBlock
from moe_teach.config import refuse
from moe_teach.ops.route import score
from moe_teach.types import Routing


def demand_reroutable(at: WatchedBlock) -> None:
    """Refuse a block whose router cannot be asked to decide otherwise.

    Raises:
        ValueError: its experts stand in a table, or its router does not answer in three parts.
    """
    refuse(
        at.moe.router.choice != "token",
        f"In {at.name} tokens do not choose by a ranking, so no choice can be made otherwise.",
    )
    refuse(
        not at.answers_in_three_parts,
        f"The router of {at.model_type} does not answer logits, gates and expert ids, so its "
        "block cannot be told to compute with others.",
    )


@contextmanager
def rerouted(at: WatchedBlock, change: Callable[[Routing], Routing]) -> Iterator[None]:
    """Let a block compute with another routing than its router's.

    Args:
        at: one of `moe_teach.analysis.routes.hooks.blocks_of(model)`.
        change: is given what the router answered, in float32, and returns what shall be. Where it
            returns the record that it was given, the answer stays as it is, to the last bit.

    Raises:
        ValueError: as `demand_reroutable`.
    """
    demand_reroutable(at)

    def answer(_router: nn.Module, _inputs: object, returned: Any) -> Any:
        logits, gates, expert_ids = returned
        with torch.no_grad():
            found = _read(logits.float(), gates.float(), expert_ids, at)
            other = change(found)
        if other is found:
            return returned
        taken = other.gates if other.kept is None else other.gates * other.kept
        return other.logits.to(logits.dtype), taken.to(gates.dtype), other.expert_ids

    handle = at.router.register_forward_hook(answer)
    try:
        yield
    finally:
        handle.remove()


def _read(logits: Tensor, gates: Tensor, expert_ids: Tensor, at: WatchedBlock) -> Routing:
    return Routing(logits, score(logits, at.moe.router.score_fn), gates, expert_ids)
