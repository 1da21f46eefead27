"""What a capacity would turn away, of whom: put on a trained model, at evaluation only."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.analysis.interventions.answers import moe_layers
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.config import DropPolicy, refuse
from moe_teach.nn.mode import AModel, twin


def with_capacity(
    model: AModel, capacity_factor: float | None, drop_policy: DropPolicy = "first_come"
) -> AModel:
    """Return a model of the same weights whose experts take only so many rows of a batch.

    Args:
        model: is left as it is; weights are shared, not copied.
        capacity_factor: see `moe_teach.ops.capacity.capacity_of`; None takes any capacity away.
        drop_policy: who comes first.

    Raises:
        ValueError: there are no experts, or the factor is not positive.
    """
    refuse(
        capacity_factor is not None and capacity_factor <= 0,
        f"capacity_factor must be positive, but it is {capacity_factor}.",
    )
    other = twin(model)
    for layer in moe_layers(other):
        layer.capacity_factor, layer.capacity, layer.drop_policy = (
            capacity_factor,
            None,
            drop_policy,
        )
    return other


@dataclass(frozen=True, eq=False)
class DropShares:
    """How many choices each group made in each layer, and how many of them were turned away."""

    dropped: Int[Tensor, "L groups"]
    chosen: Int[Tensor, "L groups"]

    @property
    def share(self) -> Float[Tensor, "L groups"]:
        """The share turned away; NaN for a group that is not there."""
        return self.dropped.double() / self.chosen

    @property
    def overall(self) -> Float[Tensor, " groups"]:
        """The same over all layers."""
        return self.dropped.sum(0).double() / self.chosen.sum(0)


def drop_share_by_group(
    record: RouteRecord, groups: Int[Tensor, " T"] | None = None, n_groups: int | None = None
) -> DropShares:
    """Count who was turned away: domain by domain, or by any other grouping of the tokens.

        record_routes(with_capacity(model, 1.0), batches, domains)

    The batches matter as much as the model: an expert is full of what is in the batch, so record
    the mix of texts that is asked about, and another mix beside it.

    Args:
        record: of a model with a capacity. Without one nothing is dropped.
        groups: of each token, as its quarter of the batch; by default its domain.
        n_groups: how many there are.

    Raises:
        ValueError: there are no tokens, or a group is out of range.
    """
    refuse(not len(record), "There are no tokens, so nobody was turned away.")
    if groups is None:
        groups, n_groups = record.domain_ids, len(record.domains)
    n_groups = int(groups.max()) + 1 if n_groups is None else n_groups
    low, high = (int(end) for end in groups.aminmax())
    refuse(
        len(groups) != len(record) or low < 0 or high >= n_groups,
        f"Each of {len(record)} tokens needs a group from 0 to {n_groups - 1}; there are "
        f"{len(groups)}, from {low} to {high}.",
    )
    tokens = torch.bincount(groups.long(), minlength=n_groups)
    chosen = (tokens * record.top_k).expand(record.n_layers, n_groups)
    dropped = torch.zeros(record.n_layers, n_groups, dtype=torch.int64)
    if record.kept is not None:
        by_token = (~record.kept).sum(2).T  # (L, T)
        dropped.index_add_(1, groups.long(), by_token)
    return DropShares(dropped, chosen)
