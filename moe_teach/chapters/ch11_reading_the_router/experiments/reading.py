"""Chapter 11: what the routes of held-out text tell of its domain, layer by layer."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.information import (
    conditional_information,
    mutual_information,
)
from moe_teach.analysis.specialisation.nulls import permutation_null, permuted_by_sequence

N_DEALS = 19  # above all of them by chance: once in 20
Measure = Callable[[Tensor], float]  # domains -> bits


def told_of_domain(record: RouteRecord, n_deals: int = N_DEALS) -> dict[str, list[float]]:
    """Measure, layer by layer, what the experts tell of the domain, each number with its null.

    `bits`: to somebody who knows nothing; `chance`: the highest over domains dealt anew to whole
    texts; `by_token`: the mean over domains dealt within the token, which is what a table of
    tokens would tell. `beyond`: to somebody who knows the token, with the mean of its null within
    the token taken off; `beyond_null`: the highest of that null, its mean taken off as well;
    `beyond_texts`: the highest over domains dealt to whole texts. `of_token`: bits of the token.
    """
    found: dict[str, list[float]] = {}
    for ids in record.expert_ids.unbind(dim=1):
        for name, value in _of_layer(record, ids, n_deals).items():
            found.setdefault(name, []).append(round(value, 4))
    return found


def _of_layer(record: RouteRecord, ids: Int[Tensor, "T K"], n_deals: int) -> dict[str, float]:
    tokens, domains = record.token_ids, record.domain_ids

    def plain(labels: Tensor) -> float:
        return mutual_information(ids, labels)

    def beyond(labels: Tensor) -> float:
        return conditional_information(ids, labels, tokens)

    known = permutation_null(beyond, domains, n=n_deals, within=tokens)
    return {
        "bits": plain(domains),
        "chance": _highest_among_texts(plain, record, n_deals),
        "by_token": permutation_null(plain, domains, n=n_deals, within=tokens).mean,
        "beyond": known.excess,
        "beyond_null": max(known.values) - known.mean,
        "beyond_texts": _highest_among_texts(beyond, record, n_deals) - known.mean,
        "of_token": plain(tokens),
    }


def _highest_among_texts(measure: Measure, record: RouteRecord, n_deals: int) -> float:
    """Deal the domains to whole texts: tokens of one text hang together."""
    drawn = torch.Generator().manual_seed(0)
    own = record.domain_ids, record.sequence_ids
    return max(measure(permuted_by_sequence(*own, drawn)) for _ in range(n_deals))


def routed_by_table(record: RouteRecord, seed: int = 0) -> RouteRecord:
    """Route the same text by a table drawn from a seed: a router that knows the token alone."""
    random = torch.Generator().manual_seed(seed)
    sizes = int(record.token_ids.max()) + 1, record.n_layers, record.n_experts
    ids = torch.rand(sizes, generator=random).topk(record.top_k, dim=-1).indices
    return replace(record, expert_ids=ids[record.token_ids])


def counted(record: RouteRecord) -> Int[Tensor, "L E D"]:
    """Count how often each expert was chosen in each domain."""
    sizes = record.n_layers, record.n_experts, len(record.domains)
    counts = torch.zeros(sizes, dtype=torch.int64)
    own = record.domain_ids.repeat_interleave(record.top_k)
    for layer, ids in enumerate(record.expert_ids.unbind(dim=1)):
        places = (ids.flatten().long(), own.long())
        counts[layer].index_put_(places, torch.ones_like(own, dtype=torch.int64), accumulate=True)
    return counts
