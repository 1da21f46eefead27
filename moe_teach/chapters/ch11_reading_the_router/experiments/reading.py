"""Chapter 11: what a router did with held-out text, and what that tells of its domain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.bits import information
from moe_teach.chapters.ch11_reading_the_router.null_within import dealt
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model

N_DEALS = 20
Measure = Callable[[Tensor], float]  # domains -> bits


@dataclass(frozen=True, eq=False)
class Reading:
    """T tokens of held-out text: their experts, ids, domains, and the window each stands in."""

    expert_ids: Int[Tensor, "T L K"]
    tokens: Int[Tensor, " T"]
    domains: Int[Tensor, " T"]
    rows: Int[Tensor, " T"]

    @property
    def n_layers(self) -> int:
        """How many layers were read."""
        return self.expert_ids.shape[1]


@torch.no_grad()
def read(model: Model, batches: Sequence[Batch]) -> Reading:
    """Run text through a model and keep who was chosen."""
    found, first_row = [], 0
    for batch in batches:
        routings = model(batch.inputs).routings
        n_rows, length = batch.inputs.shape
        ids = torch.stack([routing.expert_ids for routing in routings], dim=1)
        rows = torch.arange(first_row, first_row + n_rows).repeat_interleave(length)
        domains = batch.domain_ids.repeat_interleave(length)
        found.append((ids, batch.inputs.flatten(), domains, rows))
        first_row += n_rows
    return Reading(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def among_texts(domains: Tensor, rows: Tensor, random: torch.Generator) -> Tensor:
    """Deal domains anew to whole windows: tokens of one text stay together."""
    n_rows = int(rows.max()) + 1
    of_row = torch.zeros(n_rows, dtype=domains.dtype)
    of_row[rows] = domains
    return of_row[torch.randperm(n_rows, generator=random)][rows]


def null_of(
    measure: Measure, deal: Callable[[torch.Generator], Tensor], n_deals: int = N_DEALS
) -> list[float]:
    """Measure domains that were dealt anew, `n_deals` times."""
    random = torch.Generator().manual_seed(0)
    return [measure(deal(random)) for _ in range(n_deals)]


def told_of_domain(reading: Reading, n_deals: int = N_DEALS) -> dict[str, list[float]]:
    """Measure, layer by layer, what the experts tell of the domain, each number with its null.

    `bits`: to somebody who knows nothing; `chance`: the highest over domains dealt anew to whole
    texts; `by_token`: the mean over domains dealt within the token, which is what a table of
    tokens would tell. `beyond`: to somebody who knows the token, with the mean of its null within
    the token taken off; `beyond_null`: the highest of that null, its mean taken off as well;
    `beyond_texts`: the highest over domains dealt to whole texts. `of_token`: bits of the token.
    """
    found: dict[str, list[float]] = {}
    for layer in range(reading.n_layers):
        row = _of_layer(reading, reading.expert_ids[:, layer], n_deals)
        for name, value in row.items():
            found.setdefault(name, []).append(round(value, 4))
    return found


def _of_layer(reading: Reading, ids: Tensor, n_deals: int) -> dict[str, float]:
    tokens, domains, rows = reading.tokens, reading.domains, reading.rows

    def plain(labels: Tensor) -> float:
        return information(ids, labels)

    def beyond(labels: Tensor) -> float:
        return information(ids, labels, tokens)

    def within(random: torch.Generator) -> Tensor:
        return dealt(domains, tokens, random)

    def texts(random: torch.Generator) -> Tensor:
        return among_texts(domains, rows, random)

    by_token, null = null_of(plain, within, n_deals), null_of(beyond, within, n_deals)
    floor = sum(null) / n_deals
    return {
        "bits": plain(domains),
        "chance": max(null_of(plain, texts, n_deals)),
        "by_token": sum(by_token) / n_deals,
        "beyond": beyond(domains) - floor,
        "beyond_null": max(null) - floor,
        "beyond_texts": max(null_of(beyond, texts, n_deals)) - floor,
        "of_token": information(ids, tokens),
    }


def table_reading(reading: Reading, n_experts: int, seed: int = 0) -> Reading:
    """Route the same text by a table drawn from a seed: a router that knows the token alone."""
    random = torch.Generator().manual_seed(seed)
    n_layers, top_k = reading.expert_ids.shape[1:]
    scores = torch.rand(int(reading.tokens.max()) + 1, n_layers, n_experts, generator=random)
    ids = scores.topk(top_k, dim=-1).indices[reading.tokens]
    return Reading(ids, reading.tokens, reading.domains, reading.rows)


def shares(reading: Reading, n_experts: int, n_domains: int) -> Any:
    """Count how often each expert is chosen in each domain: (L, E, D)."""
    counts = torch.zeros(reading.n_layers, n_experts, n_domains, dtype=torch.int64)
    n_choices = reading.expert_ids.shape[2]
    own = reading.domains.repeat_interleave(n_choices)
    for layer in range(reading.n_layers):
        places = (reading.expert_ids[:, layer].flatten(), own)
        counts[layer].index_put_(places, torch.ones_like(own), accumulate=True)
    return counts
