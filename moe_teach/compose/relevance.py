"""Which experts a text needs, and which to train for it (ESFT, Wang et al. 2024, arXiv 2407.01906).

Train them with `moe_teach.compose.trainable.training_experts`. A gain says little without the two
controls: as many experts drawn at random, and as many that the text needs least.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.compose.slots import layers_with_experts
from moe_teach.compose.work import work_of
from moe_teach.config import refuse
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model

By = Literal["gate", "share"]
Experts = dict[int, tuple[int, ...]]  # layer -> experts in it


def expert_relevance(
    model: Model, batches: Iterable[Batch], by: By = "gate"
) -> Float[Tensor, "L E"]:
    """Return how much of a text each expert of each layer with experts takes; rows sum to 1.

    The paper's two scores: "gate" is the average gate of an expert, where a
    token that did not choose it counts as 0; "share" is the share of all choices that fell on
    it. Both are of what the router chose, whether or not a capacity dropped it. All tokens weigh
    the same. Gates that do not sum to 1 for a token are divided by the sum over the layer.

    Args:
        model: in whatever mode; it is asked in evaluation mode.
        batches: a sample of the text.
        by: which of the two.

    Raises:
        ValueError: there is no such score, no expert or no text.
    """
    refuse(by not in ("gate", "share"), f"Relevance is by 'gate' or 'share', not by {by!r}.")
    layers = layers_with_experts(model)
    total: dict[int, Tensor] = {}
    for work in work_of(model, batches):
        routing = work.routing
        weight = routing.chosen.double()
        if by == "gate":
            weight = weight * routing.gates.double()
        of_experts = weight.new_zeros(routing.n_experts)
        of_experts.index_add_(0, routing.expert_ids.flatten(), weight.flatten())
        total[work.layer] = total.get(work.layer, 0) + of_experts
    whole = torch.stack([total[layer] for layer in layers])
    refuse(bool((whole.sum(-1) == 0).any()), "The batches hold no text, so no expert was chosen.")
    return (whole / whole.sum(-1, keepdim=True)).float()


def relevant_experts(
    relevance: Float[Tensor, "L E"], threshold: float, layers: Sequence[int] | None = None
) -> Experts:
    """Return the fewest experts of each layer that together have the wanted share of it.

    Args:
        relevance: from `expert_relevance`.
        threshold: the share p, above 0 and up to 1. The paper takes 0.1 to 0.2 where experts are
            many and small; few large ones need more.
        layers: the numbers of the layers, which `training_experts` asks for; by default 0, 1, 2.

    Raises:
        ValueError: the threshold is no share, or the layers are not as many as the rows.
    """
    refuse(not 0 < threshold <= 1, f"The threshold is a share of a layer, and not {threshold}.")
    best = relevance.double().sort(dim=-1, descending=True, stable=True)
    before = best.values.cumsum(-1) - best.values
    # Of float32: rounding must not ask for one expert more.
    counts = (before < threshold * best.values.sum(-1, keepdim=True) - 1e-6).sum(-1).tolist()
    rows = zip(best.indices.tolist(), counts, strict=True)
    return by_layer([sorted(order[:n]) for order, n in rows], layers)


def random_experts(like: Mapping[int, Sequence[int]], n_experts: int, seed: int = 0) -> Experts:
    """Draw as many experts of each layer as `like` has there: the control of a choice.

    Some may be the same: that is what chance does.
    """
    source = torch.Generator().manual_seed(seed)
    return {
        layer: tuple(sorted(torch.randperm(n_experts, generator=source)[: len(ids)].tolist()))
        for layer, ids in like.items()
    }


def least_relevant_experts(
    relevance: Float[Tensor, "L E"], like: Mapping[int, Sequence[int]]
) -> Experts:
    """Return as many experts of each layer as `like` has there, those with the least relevance.

    Raises:
        ValueError: `like` has not as many layers as `relevance` has rows.
    """
    refuse(
        len(like) != len(relevance),
        f"There are {len(relevance)} rows of relevance and {len(like)} layers in the choice.",
    )
    orders = relevance.sort(dim=-1, stable=True).indices.tolist()
    rows = zip(sorted(like), orders, strict=True)
    return {layer: tuple(sorted(order[: len(like[layer])])) for layer, order in rows}


def by_layer(rows: Sequence[Sequence[int]], layers: Sequence[int] | None = None) -> Experts:
    """Name the layer of each row of experts; by default they are 0, 1, 2.

    Raises:
        ValueError: the layers are not as many as the rows.
    """
    numbers = range(len(rows)) if layers is None else layers
    refuse(
        len(numbers) != len(rows),
        f"{len(numbers)} layers are named for {len(rows)} rows: name each layer with experts.",
    )
    return {layer: tuple(row) for layer, row in zip(numbers, rows, strict=True)}
