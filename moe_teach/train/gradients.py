"""The gradients of one batch: whole or in micro-batches, on one process or on many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moe_teach.data.batches import Batch, text_mask
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.balance import mean_probs, tokens_per_expert
from moe_teach.seeding import seeded
from moe_teach.train.config import TrainConfig
from moe_teach.train.losses import (
    LossParts,
    Whole,
    balance_from_sums,
    share_of_tokens,
    total_loss,
)
from moe_teach.train.ranks import Ranks, shard


@dataclass(frozen=True, slots=True)
class Measured:
    """What the loss of a whole batch was made of, and the tokens per expert of each MoE layer."""

    task: Tensor
    load_balance: Tensor
    z: Tensor
    counts: tuple[Tensor, ...]


def accumulate_gradients(
    model: nn.Module, batch: Batch, config: TrainConfig, ranks: Ranks, step: int
) -> Measured:
    """Add the gradients of the batch's mean loss to the parameters, equal on every process.

    `batch` is the whole one, on the model's device; each process computes its own part of it.
    Router noise depends on (seed, step, rank) alone.
    """
    whole = Whole.of(batch.targets, batch.real)
    mine = _part(batch, ranks.rank, ranks.size)
    parts = [_part(mine, index, config.accumulate) for index in range(config.accumulate)]
    meter = _Meter(config, whole)
    with seeded(config.seed, step, ranks.rank, device=batch.inputs.device):
        ahead = _count_ahead(model, parts, config, ranks, whole)
        for part in parts:
            output = run(model, part, config)
            counts = ahead
            if len(parts) == 1:
                counts = counted(output, part, whole)
                ranks.sum_(counts)
            losses = total_loss(
                output,
                part.targets,
                load_balance_coef=config.load_balance_coef,
                z_loss_coef=config.z_loss_coef,
                balance_scope=config.balance_scope,
                whole=replace(whole, counts=counts),
            )
            losses.total.backward()
            meter.add(losses, output, part)
    ranks.sum_([p.grad for p in _with_gradients(model, ranks)])
    return meter.read(ranks)


def run(model: nn.Module, batch: Batch, config: TrainConfig) -> ModelOutput:
    """Call the model in the precision that the configuration asks for on this device."""
    device = batch.inputs.device.type
    wants_bfloat16 = config.dtype == "bfloat16" or (config.dtype == "auto" and device == "cuda")
    with torch.autocast(device, torch.bfloat16, enabled=wants_bfloat16):
        return batch.through(model)


def counted(output: ModelOutput, batch: Batch, whole: Whole) -> list[Tensor]:
    """Return the tokens per expert of every MoE layer, without padding."""
    text = _text_of(batch, whole)
    real = None if text is None else text.flatten()
    return [tokens_per_expert(routing, real) for routing in output.routings]


class _Meter:
    """Running sums over the micro-batches of one step."""

    def __init__(self, config: TrainConfig, whole: Whole) -> None:
        self.config, self.whole = config, whole
        self.losses: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.probs: list[Tensor] = []

    def add(self, losses: LossParts, output: ModelOutput, part: Batch) -> None:
        """Take one micro-batch."""
        values = (losses.task, losses.load_balance, losses.z)
        self.losses = _added(self.losses, [value.detach() for value in values])
        self.counts = _added(self.counts, counted(output, part, self.whole))
        text = _text_of(part, self.whole)
        share = share_of_tokens(part.targets, text, self.whole)
        real = None if text is None else text.flatten()
        with torch.no_grad():
            probs = [share * mean_probs(routing, real) for routing in output.routings]
        self.probs = _added(self.probs, probs)

    def read(self, ranks: Ranks) -> Measured:
        """Sum over the processes."""
        ranks.sum_(self.counts)
        ranks.sum_([*self.losses, *self.probs])
        task, load_balance, z = self.losses
        if self.config.balance_scope == "batch" and self.counts:
            # With a factor of 0 no micro-batch was told the load of the others; the sums know it.
            layers = zip(self.counts, self.probs, strict=True)
            load_balance = torch.stack([balance_from_sums(*layer) for layer in layers]).mean()
        return Measured(task, load_balance, z, tuple(self.counts))


def _count_ahead(
    model: nn.Module, parts: Sequence[Batch], config: TrainConfig, ranks: Ranks, whole: Whole
) -> list[Tensor] | None:
    """Count the choices of the whole batch before its first gradient, where the loss needs it."""
    if len(parts) == 1 or config.balance_scope != "batch" or not config.load_balance_coef:
        return None
    counts: list[Tensor] = []
    # The same noise must be drawn again afterwards, so this pass leaves the generator as it was.
    device = parts[0].inputs.device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        for part in parts:
            counts = _added(counts, counted(run(model, part, config), part, whole))
    ranks.sum_(counts)
    return counts


def _part(batch: Batch, index: int, n_parts: int) -> Batch:
    return batch.map(lambda rows: shard(rows, index, n_parts))


def _text_of(batch: Batch, whole: Whole) -> Tensor | None:
    """Return the mask of text in a part of a batch, or None where nobody needs one."""
    return text_mask(batch.targets, batch.real) if whole.is_padded else None


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _with_gradients(model: nn.Module, ranks: Ranks) -> list[nn.Parameter]:
    """List the trainable parameters; across processes each must bring a gradient, if only zero."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for parameter in trainable if ranks.size > 1 else ():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [p for p in trainable if p.grad is not None]
