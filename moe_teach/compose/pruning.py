"""Taking experts out of a model for good: whom to keep, and the smaller model that is left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.compose.relevance import Experts, by_layer, expert_relevance
from moe_teach.compose.slots import (
    demand_every_layer,
    demand_numbers,
    is_of_one_expert,
    layers_with_experts,
    moe_of,
    read_expert,
    write_expert,
)
from moe_teach.compose.work import Work, work_of
from moe_teach.config import ModelConfig, refuse
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.dispatch import DISPATCH
from moe_teach.ops.mixing import gates_of_rows, without_identity


@torch.no_grad()
def by_router_weighted_activation(model: Model, batches: Iterable[Batch]) -> Float[Tensor, "L E"]:
    """Score an expert by the mean size of what it adds where it is chosen (REAP).

    Lasby et al. 2025, arXiv 2510.13999: the mean, over the tokens that chose expert e, of the gate
    times the norm of what e answers. An expert that nobody chose has 0. What a capacity drops is
    not computed and does not count.

    Raises:
        ValueError: the model has no experts, or there is no batch.
    """
    total: dict[int, Tensor] = {}
    for work in work_of(model, batches):
        total[work.layer] = total.get(work.layer, 0) + _sizes_and_counts(model, work)
    sums = torch.stack([total[layer] for layer in layers_with_experts(model)])
    return (sums[:, 0] / sums[:, 1].clamp_min(1)).float()


def by_load(model: Model, batches: Iterable[Batch]) -> Float[Tensor, "L E"]:
    """Score an expert by its share of all choices: who is used little is thought dispensable."""
    return expert_relevance(model, batches, by="share")


def at_random(like: Float[Tensor, "L E"], seed: int = 0) -> Float[Tensor, "L E"]:
    """Score experts by lot: what every other score must beat."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed))


def best_experts(
    scores: Float[Tensor, "L E"], n_kept: int, layers: Sequence[int] | None = None
) -> Experts:
    """Return the `n_kept` experts of each layer with the highest scores, as `prune_experts` asks.

    Args:
        scores: of the layers with experts.
        n_kept: of each layer.
        layers: their numbers in the model; by default 0, 1, 2.

    Raises:
        ValueError: there are not so many experts, or not as many layers as rows.
    """
    n_experts = scores.shape[1]
    refuse(
        not 1 <= n_kept <= n_experts,
        f"Of {n_experts} experts, 1 to {n_experts} can be kept, and not {n_kept}.",
    )
    best = scores.sort(dim=-1, descending=True, stable=True).indices[:, :n_kept].tolist()
    return by_layer([sorted(row) for row in best], layers)


@torch.no_grad()
def prune_experts(model: Model, keep: Mapping[int, Sequence[int]]) -> Model:
    """Return a smaller model with the kept experts alone, in the order of their old numbers.

    Tokens that had chosen a lost expert choose the next best one. The answer is that of the whole
    model with the lost experts masked out, if scores are sigmoids, or a softmax whose gates are
    normalised and to which no selection bias is added. Otherwise a softmax over fewer experts
    makes raw gates larger, and a bias smaller beside the probabilities.

    Args:
        model: stays as it is.
        keep: layer -> the experts that stay, for every layer with experts; equally many in each,
            because a model has one number of experts.

    Raises:
        ValueError: a layer is missing, numbers differ, an expert does not exist or is named twice,
            fewer are left than a token chooses, or the routers cannot lose experts.
    """
    kept = {layer: sorted(ids) for layer, ids in keep.items()}
    layers = demand_every_layer(model, kept, "experts to keep")
    for layer in layers:
        demand_numbers(model, layer, kept[layer])
    smaller = resized(model, len(kept[layers[0]]))
    for layer in layers:
        for place, expert in enumerate(kept[layer]):
            write_expert(smaller, layer, place, read_expert(model, layer, expert))
    return smaller


@torch.no_grad()
def resized(model: Model, n_experts: int) -> Model:
    """Return the model with so many experts in each layer, all else copied; they are to be written.

    Raises:
        ValueError: the routers are made for just their number of experts.
    """
    with torch.random.fork_rng(devices=[]):
        other = Model(_with_n_experts(model.config, n_experts))
    first = next(model.parameters())
    other.to(first.device, first.dtype)
    shared = {
        name: tensor for name, tensor in model.state_dict().items() if not is_of_one_expert(name)
    }
    other.load_state_dict(shared, strict=False)
    return other.train(model.training)


def _with_n_experts(config: ModelConfig, n_experts: int) -> ModelConfig:
    moe = config.moe
    refuse(
        moe.router.choice == "table" or moe.router.n_groups > 1 or moe.n_identity_experts > 0,
        "Tables, groups and experts that give their input back are made for a fixed number of "
        "experts: a model with them cannot be given another number.",
    )
    refuse(
        n_experts < moe.router.top_k,
        f"A token chooses {moe.router.top_k} experts, so a layer must have as many, and would "
        f"have {n_experts}.",
    )
    return replace(config, moe=replace(moe, router=replace(moe.router, n_experts=n_experts)))


def _sizes_and_counts(model: Model, work: Work) -> Float[Tensor, "2 E"]:
    """Sum, expert by expert, the sizes of what it adds, and count the tokens that it answers."""
    moe: MoE = moe_of(model, work.layer)
    routing, n_identity = work.routing, moe.n_identity_experts
    if n_identity:
        routing, _ = without_identity(routing, n_identity)
    rows, dispatched = DISPATCH(work.tokens, routing)
    gates = gates_of_rows(routing.gates, dispatched)
    if moe.gates_on == "input":
        rows, gates = (gates[:, None] * rows).to(rows.dtype), torch.ones_like(gates)
    answers = moe.experts(rows, dispatched.expert_offsets)
    sizes = gates.double() * answers.double().norm(dim=-1)
    counts = dispatched.tokens_per_expert
    owners = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    sums = sizes.new_zeros(len(counts)).index_add_(0, owners, sizes)
    return torch.stack([sums, counts.to(sums)])
