"""The plain router in one operation: logits, probabilities, choice and gates.

    logits = x @ weight.T        probs = softmax(logits) or sigmoid(logits)
    expert_ids = the top_k of probs + expert_bias        gates = probs at expert_ids

The decisions themselves are described in `moe_teach.ops.route`. A router with noise or groups, or
one in which experts choose their tokens, composes those functions itself.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from moe_teach.config import RouterConfig
from moe_teach.ops.backends import kernel_of
from moe_teach.ops.choice import decide, kernels_serve
from moe_teach.ops.choose.reference import choose_reference
from moe_teach.ops.demand import demand_rows, unknown_backend
from moe_teach.types import Routing

Backend = Literal["reference", "triton"]
_IMPLEMENTATIONS = {
    "reference": choose_reference,
    "triton": kernel_of("moe_teach.ops.choose.fused", "choose_triton"),
}
BACKENDS = tuple(_IMPLEMENTATIONS)
ROUTER_INPUT = "The router's input"
MOST_EXPERTS = 512
"""How many experts the kernel can choose from: their weights have to fit in shared memory."""


def choose(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "E D"],
    expert_bias: Float[Tensor, " E"] | None,
    config: RouterConfig,
    *,
    backend: Backend | None = None,
) -> Routing:
    """Score every expert for every token, at least in float32, and choose the best.

    Args:
        x: one row per token.
        weight: one row per expert, as in `nn.Linear`.
        expert_bias: added to the probabilities for the choice, never for the gates.
        config: how to score, choose and weigh; its noise is not made here.
        backend: "reference" (the definition) or "triton" (one kernel, or two where there are few
            tokens and much weight); by default the kernel on a GPU.

    Returns:
        The decision, differentiable in `x` and `weight`. The reference refuses broken logits. On
        a GPU the kernel does not wait to look at them: the gates of such a token are NaN, and its
        experts are the first ones.

    Raises:
        ValueError: if shapes do not fit, or a logit is NaN or infinite (see above).
    """
    demand_rows(x, ROUTER_INPUT, weight.shape[-1])
    if config.top_k > len(weight):
        raise ValueError(f"top_k is {config.top_k}, but weight scores only {len(weight)} experts.")
    if not is_plain(config):
        raise ValueError(
            "choose() knows neither groups of experts nor experts that choose: use a Router."
        )
    backend = backend or decide("choose", _fitting, x, weight)
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, BACKENDS)
    return _IMPLEMENTATIONS[backend](x, weight, expert_bias, config)


def is_plain(config: RouterConfig) -> bool:
    """Tell whether tokens choose freely among all experts."""
    return config.choice == "token" and config.n_groups == 1


def _fitting(x: Tensor, weight: Tensor) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if kernels_serve(x) and kernels_serve(weight) and len(weight) <= MOST_EXPERTS:
        return "triton", "on a GPU one kernel replaces a dozen, and nobody waits for its choice"
    return "reference", "the functions of moe_teach.ops.route serve every device"
