"""The whole work of the routed experts in eight ways that give the same answer.

    out[t] = sum over k of gates[t, k] * expert_{expert_ids[t, k]}(x[t])     for the kept choices

| backend   | idea                                                     | price                    |
| --------- | -------------------------------------------------------- | ------------------------ |
| "loop"    | for each expert, mask out its tokens                     | E masks over all choices |
| "one_hot" | dispatch and combine as einsums with one-hot tensors     | T * E * C * D products   |
| "padded"  | every expert gets as many slots as the busiest one needs | padded rows are computed |
| "sorted"  | sort the choices, then one matmul per expert and matrix  | many small matmuls       |
| "grouped" | sort the choices, then one grouped matmul per matrix     | a sorted copy of x       |
| "parts"   | dispatch, experts and combine, each as is fastest here   | a sorted copy of x       |
| "each"    | visit the chosen experts, without laying out any rows    | steps in Python          |
| "triton"  | gather, experts and combine in kernels of our own        | needs Triton, and a GPU  |

Chapter 04 builds the first five in this order. The file of each is named after it; that of the
kernels is `fused.py`.
"""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.config import Activation
from moe_teach.ops.backends import kernel_of
from moe_teach.ops.choice import ON_GPU, decide, kernels_serve
from moe_teach.ops.demand import demand_routing_of, demand_rows, unknown_backend
from moe_teach.ops.routed_ffn.each import routed_ffn_each
from moe_teach.ops.routed_ffn.grouped import routed_ffn_grouped
from moe_teach.ops.routed_ffn.loop import routed_ffn_loop
from moe_teach.ops.routed_ffn.one_hot import routed_ffn_one_hot
from moe_teach.ops.routed_ffn.padded import routed_ffn_padded
from moe_teach.ops.routed_ffn.sorted import routed_ffn_sorted
from moe_teach.types import ExpertWeights, Routing

Backend = Literal["loop", "one_hot", "padded", "sorted", "grouped", "parts", "each", "triton"]
_IMPLEMENTATIONS = {
    "loop": routed_ffn_loop,
    "one_hot": routed_ffn_one_hot,
    "padded": routed_ffn_padded,
    "sorted": routed_ffn_sorted,
    "grouped": routed_ffn_grouped,
    "parts": partial(routed_ffn_grouped, ffn=None),
    "each": routed_ffn_each,
    "triton": kernel_of("moe_teach.ops.routed_ffn.fused", "routed_ffn_triton"),
}
EVERY_BACKEND = tuple(_IMPLEMENTATIONS)
BACKENDS = EVERY_BACKEND[:5]
"""Those that chapter 04 builds by hand; they need nothing but torch."""
_HANDFUL = 4  # choices; or an eighth of the experts, whom a grouped matmul would all ask


def routed_ffn(
    x: Float[Tensor, "T D"],
    routing: Routing,
    weights: ExpertWeights,
    activation: Activation,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "T D"]:
    """Run every token through its experts and mix the answers.

    Args:
        x: one row per token.
        routing: who is chosen, with which gates, and which choices are kept.
        weights: the matrices of all experts.
        activation: "swiglu", "gelu" or "relu".
        backend: one of `EVERY_BACKEND`; by default "triton" on a GPU, "each" for a handful of
            choices outside training, and "parts" elsewhere.

    Returns:
        One row per token in the dtype of `x`, differentiable in `x`, the gates and the weights.

    Raises:
        ValueError: if `x`, `routing` and `weights` do not belong together.
    """
    demand_rows(x, "x", weights.w_up.shape[-1])
    demand_routing_of(x, routing)
    if weights.w_up.shape[0] != routing.n_experts:
        raise ValueError(
            f"The routing chooses among {routing.n_experts} experts, but the weights hold "
            f"{weights.w_up.shape[0]}."
        )
    backend = backend or preferred(x, routing)
    if backend not in _IMPLEMENTATIONS:
        raise unknown_backend(backend, EVERY_BACKEND)
    return _IMPLEMENTATIONS[backend](x, routing, weights, activation)


def preferred(x: Tensor, routing: Routing) -> Backend:
    """Name the backend that tokens like these take where nobody names one."""
    return decide("routed_ffn", _fitting, x, routing)


def _fitting(x: Tensor, routing: Routing) -> tuple[Backend, str]:
    """Choose a backend, and say why."""
    if kernels_serve(x):
        return "triton", ON_GPU
    is_handful = routing.expert_ids.numel() <= max(_HANDFUL, routing.n_experts // 8)
    if x.device.type == "cpu" and is_handful and not torch.is_grad_enabled():
        return "each", "sorting so few choices costs more than visiting them one by one"
    return "parts", "without kernels of our own nothing is gained by doing all in one"
