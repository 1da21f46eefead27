"""What every operation demands of its input, as full sentences.

A wrong dtype or width would otherwise surface deep inside a matrix multiplication or, worse, as
a wrong number.
"""

from torch import Tensor

from moe_teach.config import refuse
from moe_teach.types import Routing


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


def demand_expert_ids(tokens_per_expert: Tensor, n_experts: int) -> None:
    """Refuse counts that are longer than the list of experts: some id was out of range."""
    demand_expert_id(len(tokens_per_expert) - 1, n_experts)


def demand_expert_id(expert_id: int, n_experts: int) -> None:
    """Refuse the number of an expert that does not exist."""
    if not 0 <= expert_id < n_experts:
        raise ValueError(
            f"expert_ids contains {expert_id}, but the experts are numbered 0 to {n_experts - 1}."
        )


def unknown_backend(backend: str, known: tuple[str, ...]) -> ValueError:
    """Return the error for a backend that does not exist."""
    return ValueError(f"Unknown backend {backend!r}: choose one of {', '.join(known)}.")
