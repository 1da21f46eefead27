"""Chapter 11: who loses tokens when experts are full, and what neighbours have to do with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.experiments.probing import token_losses
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


@contextmanager
def full_at(model: Model, capacity_factor: float | None) -> Iterator[None]:
    """Give the experts a capacity inside the block; who comes first is served first."""
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    before = [layer.capacity_factor for layer in layers]
    for layer in layers:
        layer.capacity_factor = capacity_factor
    try:
        yield
    finally:
        for layer, factor in zip(layers, before, strict=True):
            layer.capacity_factor = factor


@torch.no_grad()
def dropped(
    model: Model, batches: Sequence[Batch], capacity_factor: float, n_domains: int
) -> Float[Tensor, " D"]:
    """Return the share of its choices that each domain loses."""
    lost, asked = torch.zeros(2, n_domains)
    with full_at(model, capacity_factor):
        for batch in batches:
            own = batch.domain_ids.repeat_interleave(batch.inputs.shape[1])
            for routing in model(batch.inputs).routings:
                lost.index_add_(0, own, (~routing.kept).sum(dim=1).float())
                asked.index_add_(0, own, torch.full((len(own),), float(routing.top_k)))
    return lost / asked


def loss_by_domain(
    model: Model, batches: Sequence[Batch], capacity_factor: float | None, n_domains: int
) -> Float[Tensor, " D"]:
    """Return the mean loss of each domain in nats."""
    total, count = torch.zeros(2, n_domains)
    with full_at(model, capacity_factor):
        for batch in batches:
            total.index_add_(0, batch.domain_ids, token_losses(model, batch).mean(dim=1))
            count.index_add_(0, batch.domain_ids, torch.ones(len(batch.domain_ids)))
    return total / count


@torch.no_grad()
def changed_answers(model: Model, batch: Batch, capacity_factor: float | None) -> float:
    """Exchange the first half of a batch: at which share of the other half's places does the next
    token that the model thinks likeliest change?

    The texts that are asked about stay as they are, and stay in their rows.
    """
    half = len(batch.inputs) // 2
    mine = batch.inputs[half:]
    with full_at(model, capacity_factor):
        one = model(torch.cat([batch.inputs[:half], mine])).logits[half:].argmax(dim=-1)
        other = model(torch.cat([mine.flip(0), mine])).logits[half:].argmax(dim=-1)
    return (one != other).float().mean().item()
