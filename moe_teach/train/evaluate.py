"""Losses and loads on text that training has not seen, over all of it and domain by domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.data.batches import NO_TARGET, Batch, text_mask
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.ops.balance import load, tokens_per_expert
from moe_teach.types import Routing


@dataclass(frozen=True)
class Evaluation:
    """Nats per token, and for each MoE layer the share of choices on each expert.

    Everything is summed over all batches before it is divided, so that no batch, and in
    particular not the last one, speaks for the rest.
    """

    loss: float
    loss_per_domain: dict[str, float]
    loads: tuple[tuple[float, ...], ...]
    loads_per_domain: dict[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] | None = None
) -> Evaluation:
    """Measure a model in evaluation mode, which is left as it was found.

    Nothing is drawn at random. But where a layer has a capacity, or experts choose their tokens,
    what a text loses depends on the texts that share its batch.

    Args:
        model: called as `model(token_ids) -> ModelOutput`.
        batches: for example `moe_teach.data.batches.evaluation_batches(...)`.
        domains: the names behind the batches' `domain_ids`; numbers where they are not given.

    Raises:
        ValueError: if there is nothing to measure.
    """
    tally = _Tally()
    with in_evaluation(model):
        for batch in batches:
            here = brought(batch, model)
            output = here.through(model)
            losses = F.cross_entropy(
                output.logits.float().transpose(1, 2),
                here.targets,
                ignore_index=NO_TARGET,
                reduction="none",
            )
            tally.add(losses, here, output.routings)
    return tally.read(domains)


def brought(batch: Batch, model: nn.Module) -> Batch:
    """Return the batch on the device of the model.

    Raises:
        ValueError: if a token of it is none of the model's vocabulary.
    """
    if isinstance(model, Model):
        model.demand_ids(batch.inputs if batch.real is None else batch.inputs[batch.real])
    return batch.to(next(model.parameters()).device)


class _Tally:
    """Sums by domain: nats, targets, and choices for each layer and expert."""

    def __init__(self) -> None:
        self.nats: dict[int, float] = {}
        self.targets: dict[int, int] = {}
        self.counts: dict[int, list[Tensor]] = {}

    def add(self, losses: Tensor, batch: Batch, routings: tuple[Routing, ...]) -> None:
        """Take one batch."""
        asked, text = batch.targets != NO_TARGET, text_mask(batch.targets, batch.real)
        for domain in batch.domain_ids.unique().tolist():
            mine = batch.domain_ids == domain
            nats = losses[mine].double().sum().item()
            self.nats[domain] = self.nats.get(domain, 0.0) + nats
            self.targets[domain] = self.targets.get(domain, 0) + int(asked[mine].sum())
            real = (text & mine[:, None]).flatten()
            counts = [tokens_per_expert(routing, real) for routing in routings]
            before = self.counts.get(domain)
            self.counts[domain] = (
                [a + b for a, b in zip(before, counts, strict=True)] if before else counts
            )

    def read(self, names: Sequence[str] | None) -> Evaluation:
        """Divide the sums."""
        n_targets = sum(self.targets.values())
        refuse(n_targets == 0, "There is nothing to evaluate: no batch holds a target.")
        label = {i: names[i] if names is not None else str(i) for i in sorted(self.nats)}
        everything = [sum(layer) for layer in zip(*self.counts.values(), strict=True)]
        return Evaluation(
            loss=sum(self.nats.values()) / n_targets,
            loss_per_domain={
                name: self.nats[i] / self.targets[i] for i, name in label.items() if self.targets[i]
            },
            loads=_loads(everything),
            loads_per_domain={name: _loads(self.counts[i]) for i, name in label.items()},
        )


def _loads(counts: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(load(layer).tolist()) for layer in counts)
