"""The one thing that training moves outside the optimiser: the routers' selection bias."""

import math
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
        ValueError: if a router has no `expert_bias` that can take such steps, layers and counts
            do not match, or the rate is not a finite number; then no bias was moved.
    """
    if not rate:
        return
    refuse(not math.isfinite(rate), f"The rate of the bias must be finite, but it is {rate}.")
    routers = list(routers_of(model))
    refuse(
        len(routers) != len(counts),
        f"The model has {len(routers)} routers but returned {len(counts)} routings, so it is not "
        "known whose bias to move: set bias_update_rate to 0.",
    )
    demand_biases(model)
    for router, count in zip(routers, counts, strict=True):
        refuse(
            count.is_floating_point() or count.shape != router.expert_bias.shape,
            f"Tokens per expert are {len(router.expert_bias)} whole numbers, but the counts are "
            f"{count.dtype} of shape {tuple(count.shape)}.",
        )
    for router, count in zip(routers, counts, strict=True):
        # Narrow integers would overflow in the sums.
        router.expert_bias.copy_(update_expert_bias(router.expert_bias, count.long(), rate))


def demand_biases(model: nn.Module) -> None:
    """Refuse a model with a router whose selection bias cannot be moved in small steps.

    Raises:
        ValueError: if a router has no `expert_bias`, a narrow one, or one that is not a number.
    """
    for router in routers_of(model):
        name, bias = type(router).__name__, getattr(router, "expert_bias", None)
        refuse(
            not isinstance(bias, Tensor),
            f"{name} has no buffer expert_bias that balancing could move: add one, or set "
            "bias_update_rate to 0.",
        )
        refuse(
            not bias.is_floating_point() or bias.itemsize < 4,
            f"The expert_bias of a {name} is {bias.dtype}, which swallows steps of 0.001: keep it "
            "in float32.",
        )
        refuse(
            not bool(bias.isfinite().all()),
            f"The expert_bias of a {name} is NaN or infinite somewhere: set it back to zero.",
        )
