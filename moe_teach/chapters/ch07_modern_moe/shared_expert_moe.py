"""Chapter 07, exercise 7.3: a layer with an expert that is always on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.router import Router
from moe_teach.types import Routing

EXERCISE = Exercise(
    id="7.3",
    name="SharedExpertMoE",
    title="An expert that is always on",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("4.2", "4.3"),
    hints=(
        "Two branches side by side: the routed experts as in chapter 04, and one dense "
        "feed-forward for every token. Their outputs are added. Count first: how many experts and "
        "places are left for the router?",
        "Flatten x to tokens (T, D); route; dispatch; experts; combine. Then add "
        "`self.shared_expert(tokens)` and bring the sum back to the shape of x.",
        "rows, dispatched = dispatch(tokens, routing); routed = combine(self.experts(rows, "
        "dispatched.expert_offsets), routing.gates, dispatched); return (routed + "
        "self.shared_expert(tokens)).view_as(x), routing",
    ),
    explanation="The shared expert takes what every token needs, so that the routed ones need not "
    "learn it many times over: that is DeepSeekMoE's reason. It has no gate and no router, and "
    "costs places instead of FLOPs. Mind top_k - n_shared = 1: the one renormalised gate is then "
    "the constant 1, and the router goes without a teacher.",
)

SIZES = ((1, 2, 2, 1, 1), (4, 5, 3, 2, 1), (6, 7, 4, 3, 2), (3, 11, 3, 5, 1))
KINDS = {"router": Router, "experts": Experts, "shared_expert": FeedForward}
REASONS = {
    "router": "one row for each routed expert",
    "experts": "all routed experts in three fused matrices, so that one call computes them",
    "shared_expert": "n_shared experts side by side are one expert of n_shared times the width",
}
NAMES = ("d_model", "n_experts", "top_k", "d_ff", "n_shared")


def _make(answer: Any, sizes: tuple[int, ...], seed: int) -> nn.Module:
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
            parameter.copy_(torch.randn(parameter.shape, generator=generator(seed + index)))
    return layer


def _by_hand(layer: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor, Routing]:
    """The routed and the shared answer, expert by expert."""
    routing, weights = layer.router(tokens), layer.experts.weights
    inner = silu(tokens @ weights.w_gate.mT) * (tokens @ weights.w_up.mT)
    said = inner @ weights.w_down.mT  # (E, T, D)
    chosen = said[routing.expert_ids, torch.arange(len(tokens))[:, None]]  # (T, K, D)
    return (routing.gates[..., None] * chosen).sum(dim=1), layer.shared_expert(tokens), routing


@EXERCISE.stage("parts")
def _parts(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        d_model, n_experts, top_k, d_ff, n_shared = sizes
        layer, example = _make(answer, sizes, seed), dict(zip(NAMES, sizes, strict=True))
        got = layer.router.config.n_experts, layer.experts.w_up.shape[0]
        n_routed = n_experts - n_shared
        require(
            got == (n_routed, n_routed),
            f"Of {n_experts} experts {n_shared} became shared, so the router chooses among "
            f"{n_routed}, and there are {n_routed} routed ones. Count the router's and the "
            "experts' again.",
            expected=(n_routed, n_routed),
            got=got,
            example=example,
        )
        require(
            layer.router.config.top_k == top_k - n_shared,
            "The shared experts are active for every token and use n_shared of its top_k places. "
            "The router fills the rest.",
            expected=top_k - n_shared,
            got=layer.router.config.top_k,
            example=example,
        )
        shape = tuple(layer.shared_expert.w_up.weight.shape)
        require(
            shape == (n_shared * d_ff, d_model),
            "The shared expert stands for n_shared experts, so its inner width is n_shared * d_ff.",
            expected=(n_shared * d_ff, d_model),
            got=shape,
            example=example,
        )
        shape = tuple(layer.experts.w_up.shape)
        require(
            shape == (n_routed, d_ff, d_model),
            "A routed expert keeps its width d_ff; only their number changed.",
            expected=(n_routed, d_ff, d_model),
            got=shape,
            example=example,
        )


@EXERCISE.stage("form")
def _form(answer: Any, seed: int) -> None:
    for shape in ((1, 4), (5, 4), (2, 3, 4), (0, 4)):
        layer = _make(answer, (4, 5, 3, 2, 1), seed)
        x = torch.randn(shape, generator=generator(seed))
        got = layer(x)
        require(
            isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], Routing),
            "`forward` returns two things: y, and the `Routing` that the router gave. Balancing "
            "losses and plots need it.",
            got=got,
            example={"x": x},
        )
        require(
            isinstance(got[0], Tensor) and got[0].shape == x.shape,
            "y has the shape of x, with all its leading dimensions. Flatten x to (T, D) for the "
            "router and restore the shape at the end.",
            got=got[0],
            example={"x": x},
        )


@EXERCISE.stage("sum")
def _sum(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        layer = _make(answer, sizes, seed)
        x = torch.randn(7, sizes[0], generator=generator(seed))
        with torch.no_grad():
            got = layer(x)[0]
            routed, shared, routing = _by_hand(layer, x)
            in_a_row = layer.shared_expert(routed)
        expected = routed + shared
        tempting = {
            "The shared expert's answer is missing from y. It is added for every token.": routed,
            "The residual connection belongs to the block around the layer. Do not add x here.": (
                expected + x
            ),
            "Routed and shared answers are added, not averaged.": expected / 2,
            "The shared expert reads the layer's input x, beside the routed ones. Here it read "
            "their output.": in_a_row,
            "The routed answer and the shared one stand in a row: what the shared expert says of "
            "the routed answer was added to it.": routed + in_a_row,
            "A gate stands before the shared expert. It is always on, with weight 1.": (
                routed + shared * routing.gates.mean(dim=-1, keepdim=True)
            ),
        }
        shown = {"expected": expected, "got": got, "example": {"x": x}}
        for message, candidate in tempting.items():
            require(close(got, expected) or not close(got, candidate), message, **shown)
        require(
            close(got, expected),
            "y is not the gated sum of the routed experts plus the shared expert's answer. Are the "
            "gates used, and does every row find back to its token?",
            **shown,
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    layer = _make(answer, (4, 5, 3, 2, 1), seed)
    layer(torch.randn(6, 4, generator=generator(seed)))[0].square().sum().backward()
    lost = [name for name, parameter in layer.named_parameters() if parameter.grad is None]
    require(
        not lost,
        "The loss does not reach every parameter. Is there a detach() or no_grad() in the way?",
        expected="a gradient for each parameter",
        got=lost,
    )
