"""The one thing that training moves outside the optimiser: the routers' selection bias."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.ops.balance import update_expert_bias


def routers_of(model: nn.Module) -> Iterator[nn.Module]:
    """Give the router of every MoE layer, from bottom to top: whatever is called `router`."""
    for module in model.modules():
        router = getattr(module, "router", None)
        if isinstance(router, nn.Module):
            yield router


@torch.no_grad()
def update_expert_biases(model: nn.Module, counts: Sequence[Tensor], rate: float) -> None:
    """Move every router's `expert_bias` by one step against the counts of a whole batch.

    Call it once per optimiser step, never in evaluation; a rate of 0 does nothing.

    Raises:
        ValueError: if a router has no `expert_bias`, or layers and counts do not match.
    """
    if not rate:
        return
    routers = list(routers_of(model))
    refuse(
        len(routers) != len(counts),
        f"The model has {len(routers)} routers but returned {len(counts)} routings, so it is not "
        "known whose bias to move: set bias_update_rate to 0.",
    )
    for router, count in zip(routers, counts, strict=True):
        bias = getattr(router, "expert_bias", None)
        refuse(
            not isinstance(bias, Tensor),
            f"{type(router).__name__} has no buffer expert_bias that balancing could move: add "
            "one, or set bias_update_rate to 0.",
        )
        bias.copy_(update_expert_bias(bias, count, rate))
