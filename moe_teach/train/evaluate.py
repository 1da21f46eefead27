"""Losses and loads on text that training has not seen, over all of it and domain by domain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.data.batches import NO_TARGET, Batch
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

    Args:
        model: called as `model(token_ids) -> ModelOutput`.
        batches: for example `moe_teach.data.batches.evaluation_batches(...)`.
        domains: the names behind the batches' `domain_ids`; numbers where they are not given.

    Raises:
        ValueError: if there is nothing to measure.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    tally = _Tally()
    try:
        for batch in batches:
            inputs, targets = batch.inputs.to(device), batch.targets.to(device)
            output = model(inputs)
            losses = F.cross_entropy(
                output.logits.float().transpose(1, 2),
                targets,
                ignore_index=NO_TARGET,
                reduction="none",
            )
            tally.add(losses, targets != NO_TARGET, batch.domain_ids.to(device), output.routings)
    finally:
        model.train(was_training)
    return tally.read(domains)


class _Tally:
    """Sums by domain: nats, targets, and choices for each layer and expert."""

    def __init__(self) -> None:
        self.nats: dict[int, float] = {}
        self.targets: dict[int, int] = {}
        self.counts: dict[int, list[Tensor]] = {}

    def add(
        self, losses: Tensor, asked: Tensor, domain_ids: Tensor, routings: tuple[Routing, ...]
    ) -> None:
        """Take one batch."""
        for domain in domain_ids.unique().tolist():
            mine = domain_ids == domain
            nats = losses[mine].double().sum().item()
            self.nats[domain] = self.nats.get(domain, 0.0) + nats
            self.targets[domain] = self.targets.get(domain, 0) + int(asked[mine].sum())
            counts = [_counts_of(routing, mine) for routing in routings]
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


def _counts_of(routing: Routing, mine: Tensor) -> Tensor:
    per_sequence = routing.expert_ids.reshape(len(mine), -1)
    return torch.bincount(per_sequence[mine].flatten(), minlength=routing.n_experts)


def _loads(counts: Sequence[Tensor]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple((layer / layer.sum()).tolist()) for layer in counts)
