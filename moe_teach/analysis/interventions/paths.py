"""Whether two versions of a text go different ways, and whether two texts would do so anyway."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.intervals import Interval, bootstrap
from moe_teach.analysis.specialisation.saturation import overlap
from moe_teach.config import refuse


@dataclass(frozen=True, eq=False)
class PathDivergence:
    """The share of choices that differ, layer by layer and pair by pair.

    `paired` compares the versions of one text; `random` a version with another text's, which is
    what "no relation at all" looks like. `same_token` is `paired` at the positions where both have
    the same token: there only the context can have changed the way. NaN where there is none.
    """

    paired: Float[Tensor, "L pairs"]
    random: Float[Tensor, "L pairs"]
    same_token: Float[Tensor, "L pairs"]

    def interval(self, layer: int, of: str = "paired", seed: int = 0) -> Interval:
        """Return the mean over pairs with its bootstrap interval; `of` names a field."""
        values = getattr(self, of)[layer]
        values = values[~values.isnan()]
        pairs = torch.arange(len(values))
        return bootstrap(lambda drawn: float(values[drawn].mean()), pairs, seed=seed)


def path_divergence(
    ones: RouteRecord, others: RouteRecord, *, from_end: bool = False, seed: int = 0
) -> PathDivergence:
    """Compare two versions of every text, position by position: 1 - |common experts| / K.

    Args:
        ones: the routes of the texts.
        others: of their other versions, under the same `sequence_ids`.
        from_end: count positions from the end, for versions whose beginnings differ in length.
            Positions that only one of them has are left out.
        seed: of the random pairs: a circle through all texts, so nobody meets their own.

    Raises:
        ValueError: the records are not of one model, hold other texts, or fewer than two.
    """
    refuse(
        (ones.weights_digest, ones.layers) != (others.weights_digest, others.layers),
        "The two records are of different models, so their experts cannot be compared.",
    )
    texts = ones.sequence_ids.unique()
    refuse(
        not torch.equal(texts, others.sequence_ids.unique()) or len(texts) < 2,
        "Both records need the same sequence_ids, at least two: a text and its other version.",
    )
    ways = [_ways(record, texts, from_end) for record in (ones, others)]
    circle = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    partner = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
    paired, random, same_token = [], [], []
    for i, one in enumerate(ways[0]):
        version, stranger = ways[1][i], ways[1][partner[i]]
        paired.append(_differing(one, version))
        random.append(_differing(one, stranger))
        same_token.append(_differing(one, version, same_token=True))
    return PathDivergence(*(torch.stack(part, 1) for part in (paired, random, same_token)))


class _Way(NamedTuple):
    token_ids: Int[Tensor, " n"]
    expert_ids: Int[Tensor, "n L K"]


def _ways(record: RouteRecord, texts: Tensor, from_end: bool) -> list[_Way]:
    ways = []
    for text in texts:
        mine = torch.nonzero(record.sequence_ids == text).flatten()
        mine = mine[record.positions[mine].argsort(descending=from_end)]
        ways.append(_Way(record.token_ids[mine], record.expert_ids[mine]))
    return ways


def _differing(one: _Way, other: _Way, same_token: bool = False) -> Float[Tensor, " L"]:
    n, top_k = min(len(one.token_ids), len(other.token_ids)), one.expert_ids.shape[-1]
    shared = overlap(one.expert_ids[:n], other.expert_ids[:n]).double()  # (n, L)
    if same_token:
        shared = shared[one.token_ids[:n] == other.token_ids[:n]]
    return 1 - shared.mean(0) / top_k
