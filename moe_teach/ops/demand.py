"""What every operation demands of its input, as full sentences.

A wrong dtype or width would otherwise surface deep inside a matrix multiplication or, worse, as
a wrong number.
"""

from typing import get_args

import torch
from torch import Tensor

from moe_teach.config import Activation, BoundedSwiGLU, Nonlinearity, is_gated, refuse
from moe_teach.ops.operation import kernels_compile
from moe_teach.ops.triton_mode import VARIABLE
from moe_teach.types import ExpertWeights, Routing

KERNEL_ACTIVATIONS = ("swiglu", "gelu", "relu")
"""What the library's kernels compute between the matrices of an expert."""
_ACTIVATIONS = get_args(Activation)


def demand_rows(x: Tensor, name: str, width: int | None = None) -> None:
    """Refuse anything but floating-point rows (n, width)."""
    if x.is_floating_point() and x.dim() == 2 and width in (None, x.shape[1]):
        return  # several checks a layer: where nothing is wrong, no sentence is composed
    refuse(
        not x.is_floating_point(),
        f"{name} holds {x.dtype}, but the layer works on floating-point vectors: if these are "
        "token ids, look up their embeddings first.",
    )
    refuse(
        x.dim() != 2,
        f"{name} must have one row per token, shape (T, D), but its shape is {tuple(x.shape)}: "
        "flatten batch and sequence with x.flatten(0, -2).",
    )
    refuse(
        width is not None and x.shape[-1] != width,
        f"{name} has width {x.shape[-1]}, but this layer was built for width {width}.",
    )


def demand_routing_of(x: Tensor, routing: Routing) -> None:
    """Refuse a routing decision that was made for another number of tokens."""
    n_tokens = routing.expert_ids.shape[0]
    if x.shape[0] != n_tokens:
        raise ValueError(
            f"x has {x.shape[0]} tokens, but the routing decides about {n_tokens}: pass the "
            "routing of exactly these tokens."
        )


def demand_real(real: Tensor | None, routing: Routing) -> None:
    """Refuse a mask of real tokens that is none, or belongs to another batch."""
    if real is None:
        return
    n_tokens = len(routing.expert_ids)
    refuse(
        real.dtype != torch.bool or real.shape != (n_tokens,),
        f"real must say True or False for each of the {n_tokens} tokens, but it is {real.dtype} "
        f"of shape {tuple(real.shape)}: flatten a mask of (batch, sequence) first.",
    )


def demand_expert_ids(expert_ids: Tensor, n_experts: int) -> None:
    """Refuse ids that name no expert; on a GPU this waits for the device."""
    if not expert_ids.numel():
        return
    lowest, highest = (int(end) for end in expert_ids.aminmax())
    if lowest < 0 or highest >= n_experts:
        demand_expert_id(lowest if lowest < 0 else highest, n_experts)


def demand_expert_ids_in_sight(expert_ids: Tensor, n_experts: int) -> None:
    """Refuse ids that name no expert where a look costs no waiting: on a CPU, outside a graph."""
    if expert_ids.device.type == "cpu" and not torch.compiler.is_dynamo_compiling():
        demand_expert_ids(expert_ids, n_experts)


def count_ids(expert_ids: Tensor, n_experts: int) -> Tensor:
    """Count how often each expert is named, (E,) int64.

    Raises:
        ValueError: if an id names no expert.
    """
    try:
        counts = torch.bincount(expert_ids.flatten(), minlength=n_experts)
    except RuntimeError:  # a negative id, or one so large that the counts fit in no memory
        demand_expert_ids(expert_ids, n_experts)
        raise
    if len(counts) > n_experts:
        demand_expert_ids(expert_ids, n_experts)
    return counts


def demand_expert_id(expert_id: int, n_experts: int) -> None:
    """Refuse the number of an expert that does not exist."""
    if not 0 <= expert_id < n_experts:
        raise ValueError(
            f"expert_ids contains {expert_id}, but the experts are numbered 0 to {n_experts - 1}."
        )


def in_one_precision(rows: Tensor, *matrices: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return rows and matrices in the dtype they will be multiplied in.

    Under autocast everything is cast, as in any other matrix multiplication; elsewhere they must
    agree already.

    Raises:
        ValueError: if the dtypes disagree.
    """
    tensors = (rows, *matrices)
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)
    for matrix in matrices:
        if matrix is not None and matrix.dtype != rows.dtype:
            raise ValueError(
                f"rows hold {rows.dtype} and the experts {matrix.dtype}: convert the layer with "
                f".to({rows.dtype}), or run it under torch.autocast."
            )
    return tensors


def experts_in_one_precision(rows: Tensor, weights: ExpertWeights) -> tuple[Tensor, ExpertWeights]:
    """Return rows and all weights of the experts in one dtype, as `in_one_precision` does."""
    parts = (weights.w_up, weights.w_down, weights.w_gate)
    if weights.has_biases:
        parts += (weights.b_up, weights.b_down, weights.b_gate)
    found, *others = in_one_precision(rows, *parts)
    if not torch.is_autocast_enabled(rows.device.type):
        return rows, weights  # they agreed, and nothing was cast
    return found, ExpertWeights(*others)


def demand_activation(activation: Nonlinearity, has_gate: bool) -> None:
    """Refuse an activation that does not exist, or matrices that do not belong to it."""
    if not isinstance(activation, BoundedSwiGLU) and activation not in _ACTIVATIONS:
        raise unknown_activation(activation)
    if has_gate != is_gated(activation):
        raise ValueError(
            f"SwiGLU and GEGLU have the matrix w_gate and the others have not: with activation="
            f"{activation!r}, w_gate must be {'None' if has_gate else 'given'}."
        )


def unknown_activation(activation: object) -> ValueError:
    """Return the error for an activation that does not exist."""
    known = ", ".join(map(repr, _ACTIVATIONS))
    return ValueError(f"Unknown activation {activation!r}: choose one of {known}.")


def demand_no_biases(weights: ExpertWeights) -> None:
    """Refuse experts with biases where an implementation would leave them out."""
    refuse(
        weights.has_biases,
        "This backend does not add the biases of experts: name none, or 'composed' for "
        "grouped_ffn and 'parts' or 'grouped' for routed_ffn.",
    )


def demand_kernel_activation(activation: Nonlinearity, has_gate: bool) -> None:
    """Refuse an activation that the kernels do not compute, or matrices that do not fit it."""
    demand_activation(activation, has_gate)
    refuse(
        activation not in KERNEL_ACTIVATIONS,
        f"The kernels compute {', '.join(KERNEL_ACTIVATIONS)}, and not {activation!r}: name no "
        "backend, or another one.",
    )


def demand_operands(dtypes: tuple[torch.dtype, ...], **tensors: Tensor | None) -> None:
    """Refuse what an operation's kernels cannot read; each operation asks once, for all of it.

    Raises:
        ValueError: if tensors stand on several devices, or not where kernels run, or a
            floating-point one has another dtype than these.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    places = {name: tensor.device for name, tensor in given.items()}
    if len(set(places.values())) > 1:
        raise ValueError(
            "All tensors of one kernel must stand on one device, but here "
            + ", ".join(f"{name} is on {place}" for name, place in places.items())
            + ": move them with .to(device)."
        )
    for name, tensor in given.items():
        if tensor.device.type == "cpu" and kernels_compile():
            raise ValueError(
                f"{name} is on the CPU, but Triton compiles for a GPU in this process: move the "
                f"tensors to the GPU, choose another backend, or set {VARIABLE}=1 and restart "
                "Python to interpret the kernel."
            )
        if tensor.is_floating_point() and tensor.dtype not in dtypes:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise ValueError(
                f"{name} holds {tensor.dtype}, but the kernels compute with {known} only: convert "
                "it, or choose another backend."
            )
