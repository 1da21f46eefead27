"""Chapter 11, exercise 11.3: what each domain loses without each expert."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.reasons import Why, likely

Losses = Callable[[Batch, int | None], Tensor]

EXERCISE = Exercise(
    id="11.3",
    name="knock_out_damage",
    title="Without each expert, domain by domain",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "The mean of a domain is one sum over one count. Both run over all batches before anything "
        "is divided.",
        "Write mean_losses(expert) first, and call it with None and with each expert. "
        "batch.domain_ids has a number for each row of a batch, batch.targets != -100 says what "
        "counts.",
        "asked = batch.targets != -100; sums.index_add_(0, batch.domain_ids, losses(batch, "
        "expert).masked_fill(~asked, 0).sum(1)); counts.index_add_(0, batch.domain_ids, "
        "asked.sum(1)); at the end sums / counts, which is NaN where nobody was asked.",
    ),
    explanation="Means of batches weigh a batch of few tokens like one of many, and the last batch "
    "speaks for itself alone: both have been published. A domain without tokens is NaN and not 0, "
    "because 0 would say that it needs nobody. The mean over domains hides what this table is for: "
    "an expert whose loss nobody notices on average may be all that a small domain has.",
)

N_EXPERTS, N_DOMAINS = 4, 3


def some_batches(seed: int, *, one_row: bool = False) -> list[Batch]:
    """Draw batches of different sizes; domain 1 is rare, and domain 2 absent from the last."""
    random = generator(seed)
    batches = []
    for rows, length in ((1, 3),) if one_row else ((5, 4), (3, 7), (2, 4)):
        ids = torch.randint(50, (rows, length), generator=random)
        targets = torch.randint(50, (rows, length), generator=random)
        hidden = torch.rand(rows, length, generator=random) < 0.3
        hidden[:, 0] = False
        domains = torch.randint(N_DOMAINS, (rows,), generator=random)
        batches.append(Batch(ids, targets.masked_fill(hidden, NO_TARGET), domains))
    if not one_row:
        batches[-1].domain_ids.fill_(0)
        batches[0].domain_ids[:3] = torch.tensor([0, 1, 2])
    return batches


def some_losses(seed: int) -> Losses:
    """Make a model's losses up: they depend on token, domain and the expert that is missing."""
    random = generator(seed + 1000)
    base = 3 * torch.rand(50, generator=random)
    worse = torch.rand(N_EXPERTS, N_DOMAINS, generator=random) - 0.1

    def losses(batch: Batch, without: int | None) -> Tensor:
        rise = 0 if without is None else worse[without][batch.domain_ids][:, None]
        found = base[batch.inputs] * (1 + rise)
        junk = 77.0 if without is None else 50.0 + 9 * without  # means nothing
        return found.masked_fill(batch.targets == NO_TARGET, junk)

    return losses


def damage(
    losses: Losses, batches: Sequence[Batch], n_experts: int, n_domains: int, slip: str = ""
) -> Tensor:
    """Return the table (E, D); `slip` names what goes wrong."""
    batches = batches[-1:] if slip == "last batch" else batches

    def means(expert: int | None) -> Tensor:
        sums, counts = torch.zeros(n_domains), torch.zeros(n_domains)
        every = []
        for batch in batches:
            asked = (batch.targets != NO_TARGET) | (slip == "everything")
            here = losses(batch, expert).masked_fill(~asked, 0).sum(dim=1)
            many = asked.sum(dim=1).float()
            own = torch.zeros(2, n_domains).index_add_(
                1, batch.domain_ids, torch.stack([here, many])
            )
            if slip == "rows":
                own = own * 0
                row = torch.stack([here / many, torch.ones(len(many))])
                own.index_add_(1, batch.domain_ids, row)
            sums, counts = sums + own[0], counts + own[1]
            every.append(own[0] / own[1])
        if slip == "batches":
            return torch.stack(every).nanmean(dim=0)
        if slip == "one mean":
            return (sums.sum() / counts.sum()).expand(n_domains)
        return (sums / counts).nan_to_num(0) if slip == "zero" else sums / counts

    whole = means(None)
    table = torch.stack([means(expert) for expert in range(n_experts)])
    if slip == "share":
        return table / whole - 1
    return whole - table if slip == "sign" else table if slip == "loss" else table - whole


_SLIPS = {
    "last batch": Why("Only the last batch was measured.", "Add up over all batches."),
    "batches": Why(
        "Means of batches were averaged: a batch with few tokens of a domain counts as much as "
        "one with many.",
        "Add up losses and counts over all batches, and divide once.",
    ),
    "rows": Why(
        "Means of rows were averaged, and rows ask for different numbers of tokens.",
        "Add up losses and counts of tokens, and divide once.",
    ),
    "everything": Why(
        "Positions without a target were counted too.", "Only where batch.targets != -100."
    ),
    "one mean": Why("All domains were thrown together.", "A sum and a count for each domain."),
    "share": Why("That is the rise as a share of the loss.", "Nats: one loss minus the other."),
    "sign": Why("The sign is wrong.", "The loss without the expert minus the loss with it."),
    "loss": Why("That is the loss without the expert.", "Subtract the loss with all of them."),
    "zero": Why("A domain that nobody was asked for is NaN, and here it is 0.", "Leave 0 / 0."),
}


def _demand(answer: Any, seed: int, said: str, n_domains: int, **kind: bool) -> None:
    batches, losses = some_batches(seed, **kind), some_losses(seed)
    got = answer(losses, batches, N_EXPERTS, n_domains)
    expected = damage(losses, batches, N_EXPERTS, n_domains)
    example = {
        "batches": [{"targets": b.targets, "domain_ids": b.domain_ids} for b in batches],
        "losses of all experts": [losses(b, None) for b in batches],
    }
    require_tensor(got, example)
    require(
        got.shape == expected.shape,
        "The table has a row for each expert and a column for each domain.",
        expected=expected,
        got=got,
        example=example,
    )
    same = close(got.double().nan_to_num(-99), expected.double().nan_to_num(-99))
    is_right = same or bool(
        (got.double().nan_to_num(-99) - expected.double().nan_to_num(-99)).abs().max() < 1e-4
    )
    filled = got.double().nan_to_num(-99).float()
    wrong = [
        (damage(losses, batches, N_EXPERTS, n_domains, slip).nan_to_num(-99), why)
        for slip, why in _SLIPS.items()
    ]
    why = {} if is_right else likely(filled, expected.nan_to_num(-99), wrong)
    require(is_right, said, **why, expected=expected, got=got, example=example)


@EXERCISE.stage("one batch")
def _damage_one(answer: Any, seed: int) -> None:
    _demand(
        answer, seed, "With one batch of one row, this is not the rise.", N_DOMAINS, one_row=True
    )


@EXERCISE.stage("several batches")
def _damage_several(answer: Any, seed: int) -> None:
    _demand(answer, seed, "With three batches, these are not the rises.", N_DOMAINS)


@EXERCISE.stage("a domain that is not there")
def _damage_absent(answer: Any, seed: int) -> None:
    _demand(answer, seed, "Of the last domain there is no text at all.", N_DOMAINS + 1)
