"""Records what the routers of one of our models choose, from the routings that it returns."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.analysis.routes.record import RouteRecord, weights_digest
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
    parts = list(routes_by_batch(model, batches, domains))
    refuse(not parts, "Nothing was recorded: there was no batch.")
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.plus(part)
    return whole


@torch.no_grad()
def routes_by_batch(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] = ("text",)
) -> Iterator[RouteRecord]:
    """Give the record of each batch as it is made, so that no more than one is in memory.

    Arguments and errors are those of `record_routes`. Sequences are numbered within their batch.
    """
    device, digest = next(model.parameters()).device, weights_digest(model)
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    biases = [getattr(layer.router, "expert_bias", None) for layer in layers]
    drops = any(layer.drops for layer in layers)
    for batch in batches:
        with in_evaluation(model):
            here = batch.to(device)
            routings = here.through(model).routings
        yield _record(here, routings, tuple(domains), digest, biases, drops)


def _record(
    batch: Batch,
    routings: Sequence[Routing],
    domains: tuple[str, ...],
    digest: str,
    biases: Sequence[Tensor | None],
    drops: bool,
) -> RouteRecord:
    refuse(not routings, "This model has no layer with experts, so there are no routes.")
    text = text_mask(batch.targets, batch.real)
    flat, (n_rows, length) = text.flatten(), text.shape
    layers = [
        _of_layer(routing, flat, bias) for routing, bias in zip(routings, biases, strict=True)
    ]
    rows = torch.arange(n_rows, device=text.device)[:, None].expand(n_rows, length)
    places = torch.arange(length, device=text.device).expand(n_rows, length)
    return RouteRecord(
        token_ids=batch.inputs[text].cpu(),
        sequence_ids=rows[text].cpu(),
        positions=places[text].cpu(),
        domain_ids=batch.domain_ids.to(rows)[rows[text]].cpu(),
        domains=domains,
        expert_ids=torch.stack([layer.expert_ids for layer in layers], 1).cpu(),
        gates=torch.stack([layer.gates for layer in layers], 1).float().cpu(),
        margins=torch.stack([layer.margins for layer in layers], 1).float().cpu(),
        kept=torch.stack([layer.kept for layer in layers], 1).cpu() if drops else None,
        n_experts=routings[0].n_experts,
        layers=tuple(f"layer {i}" for i in range(len(layers))),
        weights_digest=digest,
    )


class _Layer(NamedTuple):
    expert_ids: Int[Tensor, "T K"]
    gates: Float[Tensor, "T K"]
    margins: Float[Tensor, " T"]
    kept: Bool[Tensor, "T K"]


def _of_layer(routing: Routing, text: Bool[Tensor, " _"], bias: Tensor | None) -> _Layer:
    mine = routing.only(text)
    refuse(
        mine.claimed is not None and not bool(mine.claimed.all()),
        "In this model experts choose their tokens, so a token has no fixed number of choices; "
        "routes are recorded where tokens choose.",
    )
    kept = torch.ones_like(mine.expert_ids, dtype=torch.bool) if mine.kept is None else mine.kept
    ranked = mine.probs.float() if bias is None else mine.probs.float() + bias
    return _Layer(mine.expert_ids, mine.gates, margins_of(ranked, mine.expert_ids), kept)


def margins_of(ranked: Float[Tensor, "T E"], expert_ids: Int[Tensor, "T K"]) -> Float[Tensor, " T"]:
    """Return by how much the last chosen expert beat the best one left out.

    Infinite where nobody was left out; below zero where something else than the ranking decided,
    as groups of experts do.
    """
    chosen = ranked.gather(1, expert_ids)
    others = ranked.scatter(1, expert_ids, -torch.inf)
    return chosen.amin(1) - others.amax(1)
