"""Chapter 07, exercise 7.3: a layer with an expert that is always on."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.shared_layer import (
    OTHER_SUM,
    by_hand,
    gradients,
    make,
    require_any_layout,
    require_widths,
    sums,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.reasons import likely
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
    "costs places instead of FLOPs. With top_k - n_shared = 1 a renormalised gate would be the "
    "constant 1, and the router would go without a teacher.",
    version=2,  # the router must learn where one place is left
)

SIZES = (
    (1, 2, 2, 1, 1),
    (4, 5, 3, 2, 1),
    (6, 7, 4, 3, 2),
    (3, 11, 3, 5, 1),
    (5, 6, 6, 3, 2),
    (4, 15, 5, 3, 2),
)
NAMES = ("d_model", "n_experts", "top_k", "d_ff", "n_shared")


@EXERCISE.stage("parts")
def _parts(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        _, n_experts, top_k, _, n_shared = sizes
        layer, example = make(answer, sizes, seed), dict(zip(NAMES, sizes, strict=True))
        got = layer.router.config.n_experts, layer.experts.w_up.shape[0]
        n_routed = n_experts - n_shared
        require(
            got == (n_routed, n_routed),
            f"Of {n_experts} experts {n_shared} became shared, so the router chooses among "
            f"{n_routed}, and there are {n_routed} routed ones: here they are others.",
            cause="The shared ones were counted with the routed ones, or taken off twice.",
            cure="Give the router and `Experts` n_experts - n_shared.",
            expected=(n_routed, n_routed),
            got=got,
            example=example,
        )
        require(
            layer.router.config.top_k == top_k - n_shared,
            "The router chooses for another number of places.",
            cause="The shared experts are active for every token and use n_shared of its top_k "
            "places.",
            cure="The router fills the rest: top_k - n_shared.",
            expected=top_k - n_shared,
            got=layer.router.config.top_k,
            example=example,
        )
        require_widths(layer, sizes, example)


@EXERCISE.stage("defaults")
def _defaults(answer: Any, seed: int) -> None:
    short = make(answer, (4, 5, 3, 2), seed)
    width = short.shared_expert.w_up.weight.shape[0]
    require(
        width == 2,
        "Built without `n_shared`, the layer does not share one expert.",
        cause="The default of `n_shared` was left out of account.",
        cure="Keep the stub's default, n_shared=1, and use the parameter everywhere.",
        expected=Words("a shared expert of the width d_ff"),
        got=Words(f"a shared expert of {width} hidden units"),
        example={"d_model": 4, "n_experts": 5, "top_k": 3, "d_ff": 2},
    )
    swiglu = short.experts.activation, short.shared_expert.activation
    require(
        swiglu == ("swiglu", "swiglu"),
        "An expert is no SwiGLU.",
        cause="Both kinds are SwiGLU when you do not say otherwise.",
        cure="Leave `activation` out.",
        expected=("swiglu", "swiglu"),
        got=swiglu,
    )


@EXERCISE.stage("form")
def _form(answer: Any, seed: int) -> None:
    for shape in ((1, 4), (5, 4), (2, 3, 4), (0, 4), (2, 0, 4), (2, 1, 3, 4)):
        layer = make(answer, (4, 5, 3, 2, 1), seed)
        x = torch.randn(shape, generator=generator(seed))
        got = layer(x)
        require(
            isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], Routing),
            "`forward` does not return y and a `Routing`.",
            cause="Balancing losses and plots need the routing, so it travels beside y.",
            cure="Return `y, routing`, in this order.",
            got=got,
            example={"x": x},
        )
        require(
            isinstance(got[0], Tensor) and got[0].shape == x.shape,
            "y has another shape than x.",
            cause="x was flattened for the router, and y was left like that.",
            cure="Flatten x to (T, D), and restore the shape at the end.",
            got=got[0],
            example={"x": x},
        )
        routing = layer.router(x.reshape(-1, x.shape[-1]))
        require(
            close(got[1].expert_ids, routing.expert_ids) and close(got[1].gates, routing.gates),
            "The `Routing` that came back is not the router's own for these tokens.",
            cause="It was changed, or made from something else than the T tokens in their order.",
            cure="Return what `self.router(tokens)` gave.",
            expected=routing,
            got=got[1],
            example={"x": x},
        )
    require_any_layout(layer.eval(), torch.randn(3, 4, 2, generator=generator(seed)).mT)


@EXERCISE.stage("sum")
def _sum(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        layer = make(answer, sizes, seed)
        x = torch.randn(7, sizes[0], generator=generator(seed))
        with torch.no_grad():
            got = layer(x)[0]
            routed, shared, _ = by_hand(layer, x)
            require(
                close(layer.eval()(x)[0], layer.train()(x)[0]),
                "The layer answers otherwise in evaluation than in training.",
                cause="Something in it is random, or asks for `self.training`.",
                cure="Use the parts as they are, without noise or dropout.",
                example={"x": x},
            )
        expected = routed + shared
        if close(got, expected):
            continue
        require(
            False,
            "y is not the gated sum of the routed experts plus the shared expert's answer.",
            **likely(got, expected, sums(layer, x), OTHER_SUM),
            expected=expected,
            got=got,
            example={"x": x},
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        layer = make(answer, sizes, seed)
        x = torch.randn(6, sizes[0], generator=generator(seed)).requires_grad_()
        leaves = {**dict(layer.named_parameters()), "x": x}
        y, routing = layer(x)
        right, shared, _ = by_hand(layer, x)
        found = gradients(y, leaves)
        wanted = gradients(right + shared, leaves)
        lost = [name for name in leaves if wanted[name] is not None and found[name] is None]
        require(
            not lost,
            "The loss does not reach every parameter, or not the input.",
            cause="There is a detach() or no_grad() in the way.",
            cure="Take it out.",
            expected="a gradient for each parameter, and for x",
            got=lost,
        )
        # A router's gradient is a difference of large sums, which round in their own size.
        size = max(1.0, *(float(g.abs().max()) for g in wanted.values() if g is not None))
        for name, gradient in wanted.items():
            if gradient is None:
                continue
            require(
                close(found[name] / size, gradient / size),
                f"The numbers are right, but the gradient of `{name}` is another one.",
                cause="One of the ways from it to y is cut off.",
                cure="Leave out `.detach()` and `torch.no_grad()`.",
                expected=gradient,
                got=found[name],
                example={"x": x.detach()},
            )
        require(
            routing.logits.requires_grad and routing.gates.requires_grad,
            "The `Routing` that came back has no graph.",
            cause="It was cut off, and so a balancing loss could not move the router.",
            cure="Return it as the router gave it.",
        )


@EXERCISE.stage("one place")
def _one_place(answer: Any, seed: int) -> None:
    sizes = (4, 5, 2, 3, 1)
    layer = make(answer, sizes, seed)
    y, routing = layer(torch.randn(6, 4, generator=generator(seed)))
    found = gradients(y, dict(layer.router.named_parameters()))
    lives = [g for g in found.values() if g is not None and bool(g.abs().max() > 1e-6)]
    require(
        bool(lives),
        "With a single place left to choose, the gradient of y on the router is 0.",
        cause="One gate over its own sum is the constant 1 (chapter 03).",
        cure="Where top_k - n_shared is 1, set normalize_gates=False in the RouterConfig.",
        got=routing.gates.detach(),
        example=dict(zip(NAMES, sizes, strict=True)),
    )
