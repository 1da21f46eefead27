"""How far the answers of a changed model are from those of the original, window by window.

    KL = sum over tokens of p * (log p - log q)      p of the original, q of the changed model

The rise of the loss is what a reader of the text notices, and may be negative by luck; the KL is
what changed at all, and is never negative. Windows of text are the unit of chance: intervals come
from drawing them again (Efron's bootstrap, percentiles, 95 %).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.data.batches import NO_TARGET, Batch, text_mask
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.ops.balance import tokens_per_expert

N_DRAWS = 2000
_TAIL = 2.5  # per cent on either side


@dataclass(frozen=True, eq=False)
class Reference:
    """What the original answers: for every batch its log-probabilities, and what experts did.

    `counts[layer, e]` are the choices that fell on expert e.
    """

    batches: tuple[Batch, ...]
    log_probs: tuple[Float[Tensor, "B S V"], ...]
    counts: Int[Tensor, "layers E"]

    @property
    def n_windows(self) -> int:
        """How many windows of text there are."""
        return sum(len(batch.inputs) for batch in self.batches)

    def loss(self, domain: int | None = None) -> float:
        """Return the original's loss in nats per token."""
        losses = [_window_losses(lp, b) for lp, b in zip(self.log_probs, self.batches, strict=True)]
        return float(_of_domain(torch.cat(losses), self.domain_ids, domain).mean())

    @property
    def domain_ids(self) -> Int[Tensor, " windows"]:
        """The domain of every window."""
        return torch.cat([batch.domain_ids for batch in self.batches])


@dataclass(frozen=True, eq=False)
class Divergence:
    """What a changed model does otherwise, for every window, each a mean over its tokens.

    `kl` and `rise` (of the loss) are in nats per token; `agrees` is the share of tokens after
    which both find the same one most probable.
    """

    kl: Float[Tensor, " windows"]
    rise: Float[Tensor, " windows"]
    agrees: Float[Tensor, " windows"]
    domain_ids: Int[Tensor, " windows"]

    def of(self, name: str, domain: int | None = None) -> "Estimate":
        """Return the mean of "kl", "rise" or "agrees" with its interval; of one domain, or all."""
        return estimate(_of_domain(getattr(self, name), self.domain_ids, domain))


@dataclass(frozen=True)
class Estimate:
    """A mean over windows and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __format__(self, form: str) -> str:
        form = form or ".4f"
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"


@torch.no_grad()
def reference(model: Model, batches: Iterable[Batch]) -> Reference:
    """Let the original answer once; its log-probabilities are kept (4 bytes times B * S * V).

    Raises:
        ValueError: there is no text.
    """
    kept, answers, counts = [], [], []
    with in_evaluation(model):
        for batch in batches:
            output = batch.through(model)
            kept.append(batch)
            answers.append(output.logits.float().log_softmax(dim=-1))
            real = text_mask(batch.targets, batch.real).flatten()
            counts.append([tokens_per_expert(routing, real) for routing in output.routings])
    refuse(not kept, "There is no text to compare on: no batch was given.")
    per_layer = [torch.stack(layer).sum(dim=0) for layer in zip(*counts, strict=True)]
    total = torch.stack(per_layer) if per_layer else torch.zeros(0, 0, dtype=torch.long)
    return Reference(tuple(kept), tuple(answers), total)


@torch.no_grad()
def diverge(model: Model, original: Reference) -> Divergence:
    """Let a changed model read the same text, and compare token by token."""
    kls, rises, agreements = [], [], []
    with in_evaluation(model):
        for batch, expected in zip(original.batches, original.log_probs, strict=True):
            found = batch.through(model).logits.float().log_softmax(dim=-1)
            asked = (batch.targets != NO_TARGET).double()
            weight = asked / asked.sum(dim=-1, keepdim=True).clamp_min(1)
            kl = (expected.exp() * (expected - found)).sum(dim=-1).double()
            same = (expected.argmax(dim=-1) == found.argmax(dim=-1)).double()
            kls.append((kl * weight).sum(dim=-1))
            agreements.append((same * weight).sum(dim=-1))
            rises.append(_window_losses(found, batch) - _window_losses(expected, batch))
    return Divergence(torch.cat(kls), torch.cat(rises), torch.cat(agreements), original.domain_ids)


def estimate(values: Float[Tensor, " windows"], seed: int = 0) -> Estimate:
    """Return the mean of values with its bootstrap interval.

    Give differences, window by window, to compare two models: what windows have in common falls
    out of them.

    Raises:
        ValueError: fewer than two values, which say nothing about chance.
    """
    refuse(
        len(values) < 2, f"An interval needs at least two windows of text, and got {len(values)}."
    )
    draws = torch.Generator().manual_seed(seed)
    picked = torch.randint(0, len(values), (N_DRAWS, len(values)), generator=draws)
    means = values.double()[picked].mean(dim=-1).sort().values
    low, high = (int(N_DRAWS * share / 100) for share in (_TAIL, 100 - _TAIL))
    return Estimate(float(values.double().mean()), float(means[low]), float(means[high]))


def hot_and_cold(
    counts: Int[Tensor, "layers E"], n_hot: int
) -> tuple[Sequence[set[int]], Sequence[set[int]]]:
    """Return, for each layer, the experts that are chosen most, and those that are chosen least.

    There are `n_hot` of either, which may be the same ones if that is more than half.

    Raises:
        ValueError: there are fewer experts.
    """
    refuse(
        not 0 <= n_hot <= counts.shape[-1],
        f"There are {counts.shape[-1]} experts: {n_hot} of them cannot be hot.",
    )
    order = counts.argsort(dim=-1, descending=True, stable=True).tolist()
    n_cold = len(order[0]) - n_hot if order else 0
    return [set(row[:n_hot]) for row in order], [set(row[n_cold:]) for row in order]


def _window_losses(log_probs: Tensor, batch: Batch) -> Tensor:
    """Return the mean loss (B,) of every window over the tokens that are asked for."""
    asked = batch.targets != NO_TARGET
    targets = batch.targets.masked_fill(~asked, 0)
    losses = -log_probs.gather(-1, targets[..., None]).squeeze(-1).double() * asked
    return losses.sum(dim=-1) / asked.sum(dim=-1).clamp_min(1)


def _of_domain(values: Tensor, domain_ids: Tensor, domain: int | None) -> Tensor:
    return values if domain is None else values[domain_ids == domain]
