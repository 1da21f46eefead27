"""Exercise 7.3: a learner's layer with known weights, what it should say, and its gradients."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from moe_teach.judging.exercise import Words, generator, require
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.router import Router
from moe_teach.types import Routing

KINDS = {"router": Router, "experts": Experts, "shared_expert": FeedForward}
REASONS = {
    "router": "one row for each routed expert",
    "experts": "all routed experts in three fused matrices, so that one call computes them",
    "shared_expert": "n_shared experts side by side are one expert of n_shared times the width",
}


def make(answer: Any, sizes: tuple[int, ...], seed: int) -> nn.Module:
    """Build the layer, reject one without the three parts, and draw its weights."""
    layer = answer(*sizes)
    require(
        isinstance(layer, nn.Module) and hasattr(layer, "_parameters"),
        "`SharedExpertMoE` must be an `nn.Module`, and its `__init__` must call "
        "`super().__init__()` first.",
        got=layer,
    )
    for name in ("router", "experts", "shared_expert"):
        require(
            isinstance(getattr(layer, name, None), nn.Module),
            f"The layer has no part called `{name}`. Set all three in `__init__`, each as an "
            "attribute of its own: modules in a plain list are neither trained nor saved.",
            got=layer,
        )
        kind = KINDS[name]
        require(
            isinstance(getattr(layer, name), kind),
            f"`{name}` must be one {kind.__name__}. It holds all it stands for: {REASONS[name]}.",
            expected=Words(f"a {kind.__name__}"),
            got=getattr(layer, name),
        )
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            drawn = torch.randn(parameter.shape, generator=generator(seed + index))
            # Gates near 0 or 1 leave the router a gradient smaller than the rounding around it.
            parameter.copy_(drawn / parameter.shape[-1] ** 0.5)
    return layer


def by_hand(layer: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor, Routing]:
    """The routed and the shared answer, expert by expert."""
    routing, weights = layer.router(tokens), layer.experts.weights
    inner = silu(tokens @ weights.w_gate.mT) * (tokens @ weights.w_up.mT)
    said = inner @ weights.w_down.mT  # (E, T, D)
    chosen = said[routing.expert_ids, torch.arange(len(tokens))[:, None]]  # (T, K, D)
    return (routing.gates[..., None] * chosen).sum(dim=1), layer.shared_expert(tokens), routing


def gradients(y: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor | None]:
    """Give the gradient of a loss on y for each leaf; None where it does not arrive."""
    loss = (y * torch.randn(y.shape, generator=generator(y.numel()))).sum()
    if not loss.requires_grad:
        return dict.fromkeys(leaves)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))
