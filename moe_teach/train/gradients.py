"""The gradients of one batch: whole or in micro-batches, on one process or on many."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from moe_teach.data.batches import NO_TARGET
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.balance import mean_probs, tokens_per_expert
from moe_teach.train.config import TrainConfig
from moe_teach.train.losses import LossParts, Whole, balance_from_sums, total_loss
from moe_teach.train.ranks import Ranks, shard
from moe_teach.train.seeding import seeded


@dataclass(frozen=True, slots=True)
class Measured:
    """What the loss of a whole batch was made of, and the tokens per expert of each MoE layer."""

    task: Tensor
    load_balance: Tensor
    z: Tensor
    counts: tuple[Tensor, ...]


def accumulate_gradients(
    model: nn.Module,
    inputs: Int[Tensor, "B S"],
    targets: Int[Tensor, "B S"],
    config: TrainConfig,
    ranks: Ranks,
    step: int,
) -> Measured:
    """Add the gradients of the batch's mean loss to the parameters, equal on every process.

    `inputs` and `targets` are the whole batch; each process computes its own part of it. Router
    noise depends on (seed, step, rank) alone.
    """
    n_targets = int((targets != NO_TARGET).sum())
    mine = [shard(rows, ranks.rank, ranks.size) for rows in (inputs, targets)]
    n_parts = config.accumulate
    parts = [tuple(shard(rows, index, n_parts) for rows in mine) for index in range(n_parts)]
    meter = _Meter(config)
    with seeded(config.seed, step, ranks.rank, device=inputs.device):
        ahead = _count_ahead(model, parts, config, ranks)
        for part, wanted in parts:
            output = run(model, part, config)
            counts = ahead
            if n_parts == 1:
                counts = counted(output)
                ranks.sum_(counts)
            whole = Whole(n_targets, targets.numel(), counts)
            losses = total_loss(
                output,
                wanted,
                load_balance_coef=config.load_balance_coef,
                z_loss_coef=config.z_loss_coef,
                balance_scope=config.balance_scope,
                whole=whole,
            )
            losses.total.backward()
            meter.add(losses, output, fraction=wanted.numel() / whole.n_tokens)
    ranks.sum_([p.grad for p in _with_gradients(model, ranks)])
    return meter.read(ranks)


def run(model: nn.Module, token_ids: Tensor, config: TrainConfig) -> ModelOutput:
    """Call the model in the precision that the configuration asks for on this device."""
    device = token_ids.device.type
    wants_bfloat16 = config.dtype == "bfloat16" or (config.dtype == "auto" and device == "cuda")
    with torch.autocast(device, torch.bfloat16, enabled=wants_bfloat16):
        return model(token_ids)


def counted(output: ModelOutput) -> list[Tensor]:
    """Return the tokens per expert of every MoE layer."""
    return [tokens_per_expert(routing) for routing in output.routings]


class _Meter:
    """Running sums over the micro-batches of one step."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.losses: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.probs: list[Tensor] = []

    def add(self, losses: LossParts, output: ModelOutput, fraction: float) -> None:
        """Take one micro-batch, which is this fraction of the batch."""
        values = (losses.task, losses.load_balance, losses.z)
        self.losses = _added(self.losses, [value.detach() for value in values])
        self.counts = _added(self.counts, counted(output))
        with torch.no_grad():
            probs = [fraction * mean_probs(routing) for routing in output.routings]
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
    model: nn.Module, parts: Sequence[Sequence[Tensor]], config: TrainConfig, ranks: Ranks
) -> list[Tensor] | None:
    """Count the choices of the whole batch before its first gradient, where the loss needs it."""
    if len(parts) == 1 or config.balance_scope != "batch" or not config.load_balance_coef:
        return None
    counts: list[Tensor] = []
    # The same noise must be drawn again afterwards, so this pass leaves the generator as it was.
    device = parts[0][0].device
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        for part, _ in parts:
            counts = _added(counts, counted(run(model, part, config)))
    ranks.sum_(counts)
    return counts


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _with_gradients(model: nn.Module, ranks: Ranks) -> list[nn.Parameter]:
    """List the trainable parameters; across processes each must bring a gradient, if only zero."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for parameter in trainable if ranks.size > 1 else ():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [p for p in trainable if p.grad is not None]
