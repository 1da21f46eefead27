"""Exercise 7.3: a learner's layer with known weights, what it should say, and its gradients."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Words, generator, require
from moe_teach.judging.reasons import Why
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
        "`SharedExpertMoE` makes no `nn.Module` that is ready for use.",
        cure="Inherit from it; `__init__` must call `super().__init__()` first.",
        got=layer,
    )
    for name in ("router", "experts", "shared_expert"):
        require(
            isinstance(getattr(layer, name, None), nn.Module),
            f"The layer has no part called `{name}`.",
            cause="It has another name, or stands in a plain list, where it is neither trained "
            "nor saved.",
            cure="Set all three in `__init__`, each as an attribute of its own.",
            got=layer,
        )
        kind = KINDS[name]
        require(
            isinstance(getattr(layer, name), kind),
            f"`{name}` is not one {kind.__name__}.",
            cause=f"One holds all it stands for: {REASONS[name]}.",
            cure=f"Set self.{name} to a `{kind.__name__}`.",
            expected=Words(f"a {kind.__name__}"),
            got=getattr(layer, name),
        )
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            drawn = torch.randn(parameter.shape, generator=generator(seed + index))
            # Gates near 0 or 1 leave the router a gradient smaller than the rounding around it.
            parameter.copy_(drawn / parameter.shape[-1] ** 0.5)
    return layer


def require_any_layout(layer: nn.Module, x: Tensor) -> None:
    """Reject a layer that minds how its input lies in memory."""
    try:
        got = layer(x)
    except RuntimeError as error:
        require(
            "view" not in str(error),
            "An x that lies transposed in memory makes the layer fail.",
            cause="It cannot be flattened by `view`, which never copies.",
            cure="`reshape` and `flatten` copy where they must.",
            example={"x": x},
        )
        raise
    require(
        close(got[0], layer(x.contiguous())[0]),
        "The same x, transposed in memory, gives another y.",
        cause="The numbers were read in the order of memory.",
        cure="Flatten with `reshape`.",
        expected=layer(x.contiguous())[0],
        got=got[0],
        example={"x": x},
    )


def require_widths(layer: Any, sizes: tuple[int, ...], example: dict[str, int]) -> None:
    """Reject shared or routed experts of another size."""
    d_model, n_experts, _, d_ff, n_shared = sizes
    n_routed = n_experts - n_shared
    shape = tuple(layer.shared_expert.w_up.weight.shape)
    require(
        shape == (n_shared * d_ff, d_model),
        "The shared expert has another inner width.",
        cause="It stands for n_shared experts.",
        cure="Make it n_shared * d_ff wide.",
        expected=(n_shared * d_ff, d_model),
        got=shape,
        example=example,
    )
    shape = tuple(layer.experts.w_up.shape)
    require(
        shape == (n_routed, d_ff, d_model),
        "The routed experts have another width.",
        cause="Only their number changed.",
        cure="A routed expert keeps its width d_ff.",
        expected=(n_routed, d_ff, d_model),
        got=shape,
        example=example,
    )


def by_hand(layer: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor, Routing]:
    """The routed and the shared answer, expert by expert."""
    routing = layer.router(tokens)
    chosen = _said(layer, tokens, routing)
    return (routing.gates[..., None] * chosen).sum(dim=1), layer.shared_expert(tokens), routing


def _said(layer: nn.Module, tokens: Tensor, routing: Routing) -> Tensor:
    """What the chosen experts say: (T, K, D)."""
    weights = layer.experts.weights
    inner = silu(tokens @ weights.w_gate.mT) * (tokens @ weights.w_up.mT)
    said = inner @ weights.w_down.mT  # (E, T, D)
    return said[routing.expert_ids, torch.arange(len(tokens))[:, None]]


def gradients(y: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor | None]:
    """Give the gradient of a loss on y for each leaf; None where it does not arrive."""
    loss = (y * torch.randn(y.shape, generator=generator(y.numel()))).sum()
    if not loss.requires_grad:
        return dict.fromkeys(leaves)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, found, strict=True))


OTHER_SUM = Why(
    "The gates are not used as they are, a row does not find back to its token, or the shared "
    "answer is weighed.",
    "routed = combine(expert rows, routing.gates, dispatched); y = routed + shared.",
)


@torch.no_grad()
def sums(layer: nn.Module, x: Tensor) -> list[tuple[Tensor, Why]]:
    """Give what known mistakes make of the two answers, and the reason."""
    routed, shared, routing = by_hand(layer, x)
    expected, in_a_row = routed + shared, layer.shared_expert(routed)
    gate = routing.gates.mean(dim=-1, keepdim=True)
    by_input = "It reads the layer's input x, beside the routed ones."
    return [
        (routed, Why("The shared expert's answer is missing from y.", "Add it for every token.")),
        (
            expected + x,
            Why(
                "x was added as well.",
                "The residual connection belongs to the block around the layer: leave it out.",
            ),
        ),
        (expected / 2, Why("Routed and shared answers were averaged.", "Add them.")),
        (in_a_row, Why("The shared expert read the output of the routed ones.", by_input)),
        (
            routed + in_a_row,
            Why("What the shared expert says of the routed answer was added to that.", by_input),
        ),
        (
            routed + shared * gate,
            Why("A gate stands before the shared expert.", "It is always on, with weight 1."),
        ),
        (
            _said(layer, x, routing).sum(dim=1) + shared,
            Why("The routed answers were added up without their gates.", "Use `routing.gates`."),
        ),
    ]
