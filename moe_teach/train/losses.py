"""The total loss: the task, and what the returned routings ask for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moe_teach.data.batches import NO_TARGET, text_mask
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.balance import load, mean_probs
from moe_teach.ops.losses import load_balance_loss, router_z_loss, sequence_balance_loss
from moe_teach.train.config import BalanceScope
from moe_teach.types import Routing


@dataclass(frozen=True, slots=True)
class LossParts:
    """`total` is what gradients are taken of; the others are its terms before their factors.

    `task` is in nats per token. `load_balance` and `z` are means over the MoE layers, 0 without.
    """

    total: Float[Tensor, ""]
    task: Float[Tensor, ""]
    load_balance: Float[Tensor, ""]
    z: Float[Tensor, ""]


@dataclass(frozen=True, slots=True)
class Whole:
    """The batch of which an output is a part: then the losses of all parts sum to the batch's.

    Of its `n_positions`, `n_tokens` hold text and `n_targets` are asked for; `n_sequences` of its
    rows hold any text. `counts` holds the tokens per expert of each MoE layer over the whole
    batch; without it the load is counted over the part alone.
    """

    n_targets: int
    n_tokens: int
    n_sequences: int
    n_positions: int
    counts: Sequence[Int[Tensor, " E"]] | None = None

    @classmethod
    def of(cls, targets: Int[Tensor, "B S"], real: Bool[Tensor, "B S"] | None = None) -> "Whole":
        """Measure a batch."""
        text = text_mask(targets, real)
        sums = ((targets != NO_TARGET).sum(), text.sum(), text.any(dim=-1).sum())
        return cls(*torch.stack(sums).tolist(), targets.numel())

    @property
    def is_padded(self) -> bool:
        """Whether any position of the batch holds no text."""
        return self.n_tokens < self.n_positions


def total_loss(
    output: ModelOutput,
    targets: Int[Tensor, "B S"],
    *,
    load_balance_coef: float = 0.0,
    z_loss_coef: float = 0.0,
    balance_scope: BalanceScope = "batch",
    whole: Whole | None = None,
) -> LossParts:
    """Return task + load_balance_coef * load_balance + z_loss_coef * z, and its terms.

    Args:
        output: what the model returned, with one routing for each MoE layer.
        targets: the next token at every position; -100 where nothing is asked. Where the model
            was not told which positions hold text (`output.real`), these are taken for padding
            and do not count in the routers' losses either.
        load_balance_coef: the factor of the balancing loss (0.01 in Switch and OLMoE).
        z_loss_coef: the factor of the z-loss (0.001 in ST-MoE).
        balance_scope: over which tokens the load is counted, as in `TrainConfig`.
        whole: the batch that this output is a part of; by default it is all there is.
    """
    whole = whole or Whole.of(targets, output.real)
    text = text_mask(targets, output.real) if whole.is_padded else None
    real = None if text is None else text.flatten()
    task = task_loss(output.logits, targets) / max(whole.n_targets, 1)
    counts = whole.counts or [None] * len(output.routings)
    balance = [
        _balance_loss(routing, seen, balance_scope, len(targets), real)
        for routing, seen in zip(output.routings, counts, strict=True)
    ]
    tokens = share_of_tokens(targets, text, whole)
    share = _share_of_sequences(targets, text, whole) if balance_scope == "sequence" else tokens
    load_balance = share * _mean(balance, task)
    z = tokens * _mean([router_z_loss(routing, real) for routing in output.routings], task)
    total = task + load_balance_coef * load_balance + z_loss_coef * z
    return LossParts(total, task, load_balance, z)


def share_of_tokens(targets: Tensor, text: Tensor | None, whole: Whole) -> float:
    """Return how much of a batch's text stands in a part of it; `text` is its mask, if any."""
    return (targets.numel() if text is None else int(text.sum())) / max(whole.n_tokens, 1)


def _share_of_sequences(targets: Tensor, text: Tensor | None, whole: Whole) -> float:
    n_sequences = len(targets) if text is None else int(text.any(dim=-1).sum())
    return n_sequences / max(whole.n_sequences, 1)


def task_loss(logits: Float[Tensor, "B S V"], targets: Int[Tensor, "B S"]) -> Float[Tensor, ""]:
    """Return the summed cross-entropy in nats; positions whose target is -100 count for nothing."""
    precise = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise, targets.flatten(), ignore_index=NO_TARGET, reduction="sum")


def balance_from_sums(counts: Int[Tensor, " E"], probs: Float[Tensor, " E"]) -> Float[Tensor, ""]:
    """Return E * sum of load_i * probs_i over the experts (Switch, arXiv 2101.03961, eq. 4)."""
    return counts.numel() * (load(counts) * probs).sum()


def _balance_loss(
    routing: Routing,
    counts: Tensor | None,
    scope: BalanceScope,
    n_sequences: int,
    real: Tensor | None,
) -> Tensor:
    if scope == "sequence":
        return sequence_balance_loss(routing, n_sequences, real)
    if scope == "micro_batch" or counts is None:
        return load_balance_loss(routing, real)
    return balance_from_sums(counts, mean_probs(routing, real))


def _mean(losses: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(losses).mean() if losses else like.new_zeros(())
