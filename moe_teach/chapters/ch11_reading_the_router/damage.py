"""Chapter 11, exercise 11.3: what each domain loses without each expert."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.knock_out_inputs import (
    N_DOMAINS,
    N_EXPERTS,
    Losses,
    some_batches,
    some_losses,
)
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require, require_tensor
from moe_teach.judging.reasons import Why, likely

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


def damage(
    losses: Losses, batches: Sequence[Batch], n_experts: int, n_domains: int, slip: str = ""
) -> Tensor:
    """Return the table (E, D); `slip` names what goes wrong."""
    batches = {"last batch": batches[-1:], "first batch": batches[:1]}.get(slip, batches)

    def means(expert: int | None) -> Tensor:
        own = [_sums(losses(batch, expert), batch, n_domains, slip) for batch in batches]
        if slip == "batches":
            return torch.stack([sums / counts for sums, counts in own]).nanmean(dim=0)
        if slip == "batches with NaN":
            return torch.stack([sums / counts for sums, counts in own]).mean(dim=0)
        sums, counts = torch.stack(own).sum(dim=0)
        if slip == "one mean":
            return (sums.sum() / counts.sum()).expand(n_domains)
        return (sums / counts).nan_to_num(0) if slip == "zero" else sums / counts

    whole = means(None)
    table = torch.stack([means(expert) for expert in range(n_experts)])
    if slip == "share":
        return table / whole - 1
    if slip == "loss":
        return table
    return _MADE_OF.get(slip, lambda rise: rise)(table - whole)


_MADE_OF: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": torch.neg,
    "clamped": lambda rise: rise.clamp(min=0),
    "absolute": torch.abs,
    "bits": lambda rise: rise / math.log(2),
    "from 1": lambda rise: rise.roll(-1, dims=0),
}


def _sums(loss: Tensor, batch: Batch, n_domains: int, slip: str) -> Tensor:
    """Return sums of losses and counts of tokens by domain, (2, D)."""
    asked = (batch.targets != NO_TARGET) | (slip == "everything")
    if slip == "token 0":
        asked = batch.targets > 0
    here, many = loss.masked_fill(~asked, 0).sum(dim=1), asked.sum(dim=1).float()
    if slip == "counts":
        many = torch.full_like(many, asked.shape[1])
    if slip == "rows":
        here, many = here / many, torch.ones(len(many))
    return torch.zeros(2, n_domains).index_add_(1, batch.domain_ids, torch.stack([here, many]))


_SLIPS = {
    "last batch": Why("Only the last batch was measured.", "Add up over all batches."),
    "first batch": Why("Only the first batch was measured.", "Add up over all batches."),
    "batches": Why(
        "Means of batches were averaged: a batch with few tokens of a domain counts as much as "
        "one with many.",
        "Add up losses and counts over all batches, and divide once.",
    ),
    "batches with NaN": Why(
        "Means of batches were averaged, and a batch without a domain makes its mean NaN.",
        "Add up losses and counts over all batches, and divide once.",
    ),
    "rows": Why(
        "Means of rows were averaged, and rows ask for different numbers of tokens.",
        "Add up losses and counts of tokens, and divide once.",
    ),
    "everything": Why(
        "Positions without a target were counted too.", "Only where batch.targets != -100."
    ),
    "counts": Why(
        "Losses were added where somebody was asked, and divided by all positions.",
        "Count (batch.targets != -100) too.",
    ),
    "token 0": Why(
        "Targets of 0 were left out, and 0 is a token like any other.",
        "Only where batch.targets != -100.",
    ),
    "one mean": Why("All domains were thrown together.", "A sum and a count for each domain."),
    "share": Why("That is the rise as a share of the loss.", "Nats: one loss minus the other."),
    "bits": Why("That is in bits.", "The losses are in nats already: take their difference."),
    "sign": Why("The sign is wrong.", "The loss without the expert minus the loss with it."),
    "clamped": Why(
        "Where the loss falls, 0 was returned.",
        "A number below 0 says that an expert is in the way.",
    ),
    "absolute": Why(
        "The sign was taken away.", "A number below 0 says that an expert is in the way."
    ),
    "from 1": Why("Row 0 is what expert 1 does: all rows are one off.", "range(n_experts)"),
    "loss": Why("That is the loss without the expert.", "Subtract the loss with all of them."),
    "zero": Why("A domain that nobody was asked for is NaN, and here it is 0.", "Leave 0 / 0."),
}
_UNKNOWN = Why(
    "It is none of the mistakes that are known here.",
    "Add up and count one domain by hand, with the losses above, and compare.",
)
_NARROW = Why("That is near: it was added up in a narrow dtype.", "Use float32 or float64.")
_NAN_TIMES = Why(
    "Where nobody is asked the loss may be NaN, and NaN times 0 is NaN.",
    "Leave those places out (masked_fill, torch.where or an index) instead of multiplying.",
)


def _demand(
    answer: Any, seed: int, said: str, n_domains: int, *, junk: float = 0.0, one_row: bool = False
) -> None:
    batches, losses = some_batches(seed, one_row=one_row), some_losses(seed, junk)
    got = answer(losses, batches, N_EXPERTS, n_domains)
    expected = damage(losses, batches, N_EXPERTS, n_domains)
    example = {
        "batches": [{"targets": b.targets, "domain_ids": b.domain_ids} for b in batches],
        "losses of all experts": [losses(b, None) for b in batches],
        "losses without expert 0": [losses(b, 0) for b in batches],
    }
    require_tensor(got, example)
    require(
        got.shape == expected.shape,
        "The table has a row for each expert and a column for each domain.",
        **_other_shape(got, expected)._asdict(),
        expected=expected,
        got=got,
        example=example,
    )
    filled, wanted = got.double().nan_to_num(-99), expected.double().nan_to_num(-99)
    far = float((filled - wanted).abs().max())
    is_right = close(filled, wanted) or far < 1e-4
    wrong = [
        (damage(losses, batches, N_EXPERTS, n_domains, slip).double().nan_to_num(-99), why)
        for slip, why in _SLIPS.items()
        if not is_right
    ]
    why = likely(filled.float(), wanted.float(), wrong, _NARROW if far < 0.05 else _UNKNOWN)
    if junk != junk and bool(got.isnan().sum() > expected.isnan().sum()):
        why = _NAN_TIMES._asdict()
    require(is_right, said, **why, expected=expected, got=got, example=example)


def _other_shape(got: Tensor, expected: Tensor) -> Why:
    n_experts, n_domains = expected.shape
    if got.shape == expected.T.shape:
        return Why("Experts and domains changed places.", "Return table.T.")
    if got.shape == (n_experts + 1, n_domains):
        return Why("The model with all of its experts has a row, too.", "table[1:] - table[0]")
    if got.shape[:1] == (n_experts,) and got.ndim == 2 and got.shape[1] < n_domains:
        return Why(
            "Domains of which nobody was asked have no column.",
            "n_domains columns, and NaN where there is no token.",
        )
    return Why(
        "An axis is missing.", "torch.stack of one row of n_domains numbers for each expert."
    )


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


@EXERCISE.stage("where nobody is asked")
def _damage_unasked(answer: Any, seed: int) -> None:
    said = "Where nobody is asked, the losses are NaN here."
    _demand(answer, seed, said, N_DOMAINS, junk=math.nan)
