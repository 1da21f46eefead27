"""Several experts of a layer become one: a weighted mean of their matrices and router rows.

M-SMoE (Li et al. 2023, arXiv 2310.01334) merges by how often each expert is used. A mean of two
feed-forwards is near both only where their hidden units stand in the same order, as in copies of
one dense layer; nothing here puts them in order.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from moe_teach.compose.pruning import resized
from moe_teach.compose.slots import (
    ExpertSlot,
    demand_every_layer,
    moe_of,
    read_expert,
    write_expert,
)
from moe_teach.config import refuse
from moe_teach.nn.model import Model

Groups = Sequence[Sequence[int]]


@torch.no_grad()
def merged(slots: Sequence[ExpertSlot], weights: Sequence[float] | None = None) -> ExpertSlot:
    """Return the weighted mean of experts, router rows and selection biases included.

    A router that is linear gives the mean expert the mean of their logits.

    Args:
        slots: from `read_expert`.
        weights: how much each counts, not negative; equal by default.

    Raises:
        ValueError: no expert, experts of different shapes, or weights that are none.
    """
    refuse(not slots, "There is no expert to merge.")
    shares = _shares(len(slots), weights)
    tensors = [slot.tensors() for slot in slots]
    shapes = [{name: tensor.shape for name, tensor in slot.items()} for slot in tensors]
    refuse(
        any(other != shapes[0] for other in shapes[1:]),
        "The experts are of different shapes: they come from models of different sizes.",
    )
    return ExpertSlot.of(
        {name: _mean([slot[name] for slot in tensors], shares) for name in tensors[0]}
    )


@torch.no_grad()
def merge_experts(
    model: Model,
    groups: Mapping[int, Groups],
    weights: Mapping[int, Sequence[float]] | None = None,
) -> Model:
    """Return a smaller model in which each group of experts is one.

    Args:
        model: stays as it is.
        groups: layer -> groups of its experts, for every layer with experts, as many groups in
            each. Every expert is in one group; group i becomes expert i.
        weights: layer -> how much each of its experts counts, for example its load; equal by
            default.

    Raises:
        ValueError: a layer is missing, an expert is in no group or in two, numbers of groups
            differ, a group has no weight, or the routers cannot lose experts.
    """
    layers = demand_every_layer(model, groups, "groups")
    _demand_groups(model, groups)
    smaller = resized(model, len(groups[layers[0]]))
    for layer in layers:
        for place, group in enumerate(groups[layer]):
            counts = None if weights is None else [float(weights[layer][e]) for e in group]
            slots = [read_expert(model, layer, expert) for expert in group]
            write_expert(smaller, layer, place, merged(slots, counts))
    return smaller


def _shares(n: int, weights: Sequence[float] | None) -> list[float]:
    if weights is None:
        return [1 / n] * n
    total = sum(weights)
    refuse(
        len(weights) != n or min(weights) < 0 or not 0 < total < float("inf"),
        f"{n} experts need as many weights, not negative and not all 0; these are {list(weights)}.",
    )
    return [weight / total for weight in weights]


def _mean(tensors: list[Tensor], shares: list[float]) -> Tensor:
    """Average in float64, as a distance from the first: equal tensors stay what they are."""
    first = tensors[0].double()
    pairs = zip(tensors, shares, strict=True)
    moved = [share * (tensor.double() - first) for tensor, share in pairs]
    return (first + torch.stack(moved).sum(0)).to(tensors[0].dtype)


def _demand_groups(model: Model, groups: Mapping[int, Groups]) -> None:
    for layer, of_layer in groups.items():
        n_experts = len(moe_of(model, layer).experts.w_up)
        named = sorted(expert for group in of_layer for expert in group)
        refuse(
            named != list(range(n_experts)) or not all(len(group) for group in of_layer),
            f"Each of the {n_experts} experts of layer {layer} must stand in one group, and no "
            f"group may be empty; these are {[list(group) for group in of_layer]}.",
        )
