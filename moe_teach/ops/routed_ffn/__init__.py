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

Chapter 04 builds the first five in this order; they stand in `moe_teach.ops.five_ways`. Of the
others the file is named after each, and that of the kernels is `fused.py`.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.config import Nonlinearity
from moe_teach.ops.demand import (
    KERNEL_ACTIVATIONS,
    demand_routing_of,
    demand_rows,
    experts_in_one_precision,
)
from moe_teach.ops.dispatch import COMBINE, DISPATCH, kernels_lay_out
from moe_teach.ops.five_ways import FIVE_WAYS
from moe_teach.ops.grouped_ffn import GROUPED_FFN
from moe_teach.ops.operation import ON_GPU, Kernel, Operation, part_asked_for
from moe_teach.ops.routed_ffn.each import routed_ffn_each
from moe_teach.types import ExpertWeights, Routing

Backend = Literal["loop", "one_hot", "padded", "sorted", "grouped", "parts", "each", "triton"]
_PARTS = ("dispatch", "grouped_mm", "grouped_ffn", "combine")
_HANDFUL = 4  # choices; or an eighth of the experts, whom a grouped matmul would all ask


def routed_ffn(
    x: Float[Tensor, "T D"],
    routing: Routing,
    weights: ExpertWeights,
    activation: Nonlinearity,
    *,
    backend: Backend | None = None,
) -> Float[Tensor, "T D"]:
    """Run every token through its experts and mix the answers.

    Args:
        x: one row per token.
        routing: who is chosen, with which gates, and which choices are kept.
        weights: the matrices of all experts.
        activation: what happens between the matrices, see `MoEConfig`.
        backend: a name in the table above; by default "triton" on a GPU, "each" for a handful of
            choices outside training, and "parts" elsewhere.

    Returns:
        One row per token in the dtype of `x`, differentiable in `x`, the gates and the weights.

    Raises:
        ValueError: if `x`, `routing` and `weights` do not belong together, or the backend that
            was named lacks the activation or the biases of experts.
    """
    demand_rows(x, "x", weights.w_up.shape[-1])
    demand_routing_of(x, routing)
    if weights.w_up.shape[0] != routing.probs.shape[-1]:
        raise ValueError(
            f"The routing chooses among {routing.n_experts} experts, but the weights hold "
            f"{weights.w_up.shape[0]}."
        )
    return ROUTED_FFN(x, routing, weights, activation, backend=backend)


def _parts(x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity) -> Tensor:
    """Dispatch, compute the experts on their slices, combine: each as is fastest here."""
    rows, dispatched = DISPATCH(x, routing)
    rows, weights = experts_in_one_precision(rows, weights)
    y = GROUPED_FFN(rows, dispatched.expert_offsets, weights, activation)
    return COMBINE(y, routing.gates, dispatched).to(x.dtype)


def _each(x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity) -> Tensor:
    # A backward pass would fill a gradient of the fused size for every visit.
    way = _parts if torch.is_grad_enabled() else routed_ffn_each
    return way(x, routing, weights, activation)


def _fitting(
    x: Tensor, routing: Routing, weights: ExpertWeights, activation: Nonlinearity
) -> tuple[str, str]:
    """Choose a backend, and say why."""
    if asked := part_asked_for(_PARTS):
        return "parts", f"a backend was asked for one of its parts, {asked}"
    if weights.has_biases:
        return "parts", "the biases of experts are added in one of its parts"
    if kernels_lay_out(x, routing):
        if activation in KERNEL_ACTIVATIONS:
            return "triton", ON_GPU
        return "parts", "the kernels do not compute this activation"
    is_handful = routing.expert_ids.numel() <= max(_HANDFUL, routing.probs.shape[-1] // 8)
    if x.device.type == "cpu" and is_handful and not torch.is_grad_enabled():
        return "each", "sorting so few choices costs more than visiting them one by one"
    return "parts", "without kernels of our own nothing is gained by doing all in one"


ROUTED_FFN = Operation(
    "routed_ffn",
    {
        **FIVE_WAYS,
        "parts": _parts,
        "each": _each,
        "triton": Kernel("moe_teach.ops.routed_ffn.fused:routed_ffn_triton"),
    },
    _fitting,
)
