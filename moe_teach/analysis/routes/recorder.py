"""Records what the routers of one of our models choose, from the routings that it returns."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.analysis.routes.record import RouteRecord, joined, weights_digest
from moe_teach.config import refuse
from moe_teach.data.batches import Batch, text_mask
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.moe import MoE
from moe_teach.types import Routing


def record_routes(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] = ("text",)
) -> RouteRecord:
    """Send text through a model in evaluation mode and record every token's route.

    Padding, and positions that no target asks for, are left out.

    Args:
        model: called as `model(token_ids) -> ModelOutput`; its mode is left as it was found.
        batches: for example `moe_teach.data.batches.evaluation_batches(...)`.
        domains: the names behind the batches' `domain_ids`.

    Raises:
        ValueError: there is no batch, no layer with experts, or experts choose their tokens, so
            that a token has no K choices.
    """
    return joined(list(routes_by_batch(model, batches, domains)))


@torch.no_grad()
def routes_by_batch(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] = ("text",)
) -> Iterator[RouteRecord]:
    """Give the record of each batch as it is made, so that no more than one is in memory.

    Arguments and errors are those of `record_routes`. Sequences are numbered within their batch.
    """
    device, digest = next(model.parameters()).device, weights_digest(model)
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    refuse(not layers, "This model has no layer with experts, so there are no routes.")
    biases = [getattr(layer.router, "expert_bias", None) for layer in layers]
    drops = any(layer.drops for layer in layers)
    names = tuple(f"layer {i}" for i in range(len(layers)))
    for batch in batches:
        with in_evaluation(model):
            here = batch.to(device)
            routings = here.through(model).routings
        text = text_mask(here.targets, here.real)
        routes = [
            _of_layer(routing, text.flatten(), bias, drops)
            for routing, bias in zip(routings, biases, strict=True)
        ]
        n_experts = routings[0].n_experts
        yield assembled(here, routes, tuple(domains), n_experts, names, digest)


class LayerRoutes(NamedTuple):
    """What one router chose for the tokens of a batch; `kept` is None where nothing can drop."""

    expert_ids: Int[Tensor, "T K"]
    gates: Float[Tensor, "T K"]
    margins: Float[Tensor, " T"]
    kept: Bool[Tensor, "T K"] | None


def assembled(
    batch: Batch,
    routes: Sequence[LayerRoutes],
    domains: tuple[str, ...],
    n_experts: int,
    layers: tuple[str, ...],
    weights_digest: str,
) -> RouteRecord:
    """Return the record of a batch, on the CPU, from what each layer chose for its text alone."""
    text = text_mask(batch.targets, batch.real)
    rows, places = text.nonzero(as_tuple=True)
    parts = {
        name: torch.stack([getattr(route, name) for route in routes], 1).cpu()
        for name in LayerRoutes._fields
        if getattr(routes[0], name) is not None
    }
    return RouteRecord(
        token_ids=batch.inputs[text].cpu(),
        sequence_ids=rows.cpu(),
        positions=places.cpu(),
        domain_ids=batch.domain_ids.to(rows)[rows].cpu(),
        domains=domains,
        n_experts=n_experts,
        layers=layers,
        weights_digest=weights_digest,
        **parts,
    )


def _of_layer(
    routing: Routing, text: Bool[Tensor, " _"], bias: Tensor | None, drops: bool
) -> LayerRoutes:
    mine = routing.only(text)
    refuse(
        mine.claimed is not None and not bool(mine.claimed.all()),
        "In this model experts choose their tokens, so a token has no fixed number of choices; "
        "routes are recorded where tokens choose.",
    )
    kept = torch.ones_like(mine.expert_ids, dtype=torch.bool) if mine.kept is None else mine.kept
    ranked = mine.probs.float() if bias is None else mine.probs.float() + bias
    margins = margins_of(ranked, mine.expert_ids).float()
    return LayerRoutes(mine.expert_ids, mine.gates.float(), margins, kept if drops else None)


def margins_of(ranked: Float[Tensor, "T E"], expert_ids: Int[Tensor, "T K"]) -> Float[Tensor, " T"]:
    """Return by how much the last chosen expert beat the best one left out.

    Infinite where nobody was left out; below zero where something else than the ranking decided,
    as groups of experts do.
    """
    chosen = ranked.gather(1, expert_ids)
    others = ranked.scatter(1, expert_ids, -torch.inf)
    return chosen.amin(1) - others.amax(1)
