"""The record of routes: for every token, whom each layer's router chose, and how surely."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.checkpoint.digests import digest_of_tensors
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.config import refuse


@dataclass(frozen=True, eq=False)
class RouteRecord:
    """Routes of T tokens through L layers of experts, K choices each, the first choice first.

    `sequence_ids` numbers the text that a token belongs to, `positions` its place in it, and
    `domain_ids` the kind of text by its place in `domains`. `margins` says by how much the last
    chosen expert beat the first one left out, in the units of what was ranked (probabilities with
    their selection bias); it is infinite where nobody was left out. `kept` is None where every
    choice was carried out; else it is False where a capacity dropped one. `layers` are the layers'
    names, and `weights_digest` the hash of the weights that chose.
    """

    token_ids: Int[Tensor, " T"]
    sequence_ids: Int[Tensor, " T"]
    positions: Int[Tensor, " T"]
    domain_ids: Int[Tensor, " T"]
    domains: tuple[str, ...]
    expert_ids: Int[Tensor, "T L K"]
    gates: Float[Tensor, "T L K"]
    margins: Float[Tensor, "T L"]
    n_experts: int
    layers: tuple[str, ...]
    kept: Bool[Tensor, "T L K"] | None = None
    weights_digest: str = ""

    def __post_init__(self) -> None:
        n_tokens, n_layers = self.expert_ids.shape[:2]
        lengths = {len(part) for part in self._columns().values()}
        refuse(
            lengths != {n_tokens} or len(self.layers) != n_layers,
            f"A record says of each of its {n_tokens} tokens the same things, and names each of "
            f"its {n_layers} layers; here are columns of lengths {sorted(lengths)} and "
            f"{len(self.layers)} names.",
        )
        if n_tokens:
            self._demand_range("expert ids", self.expert_ids, self.n_experts)
            self._demand_range("domain ids", self.domain_ids, len(self.domains))

    def _demand_range(self, what: str, ids: Tensor, end: int) -> None:
        low, high = (int(border) for border in ids.aminmax())
        refuse(
            low < 0 or high >= end,
            f"The {what} must lie between 0 and {end - 1}, but they reach from {low} to {high}.",
        )

    def _columns(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(self.expert_ids)

    @property
    def n_layers(self) -> int:
        """How many layers of experts the record covers (L)."""
        return self.expert_ids.shape[1]

    @property
    def top_k(self) -> int:
        """How many choices a token has in a layer (K)."""
        return self.expert_ids.shape[2]

    @property
    def n_texts(self) -> int:
        """How many numbers of texts are taken: one more than the largest."""
        return int(self.sequence_ids.max()) + 1 if len(self) else 0

    def only(self, tokens: Bool[Tensor, " T"] | slice) -> "RouteRecord":
        """Return the record of some tokens alone, in their order."""
        return replace(self, **{name: part[tokens] for name, part in self._columns().items()})

    def of_domain(self, name: str) -> "RouteRecord":
        """Return the record of one kind of text.

        Raises:
            ValueError: there is none of this name.
        """
        refuse(name not in self.domains, f"There is no {name!r} among {', '.join(self.domains)}.")
        return self.only(self.domain_ids == self.domains.index(name))

    def plus(self, other: "RouteRecord") -> "RouteRecord":
        """Return both records as one; the other's texts are numbered on.

        Raises:
            ValueError: they are of different models, layers, or kinds of text.
        """
        return joined([self, other])


def joined(records: Sequence[RouteRecord], *, renumber: bool = True) -> RouteRecord:
    """Return records as one, in their order.

    The texts are numbered on from one record to the next, unless their numbers are of one list
    already (`renumber=False`).

    Raises:
        ValueError: there is none, or they are of different models, layers, or kinds of text.
    """
    refuse(not records, "Nothing was recorded: there was no batch.")
    first, columns, n_texts = records[0], [], 0
    for record in records:
        demand_alike(first, record)
        mine = record._columns()
        mine["sequence_ids"] = mine["sequence_ids"] + n_texts
        n_texts += record.n_texts if renumber else 0
        columns.append(mine)
    return replace(first, **{name: torch.cat([c[name] for c in columns]) for name in columns[0]})


def demand_alike(one: RouteRecord, other: RouteRecord) -> None:
    """Refuse two records that cannot become one."""
    same = ("domains", "layers", "n_experts", "weights_digest", "top_k")
    differing = [name for name in same if getattr(one, name) != getattr(other, name)]
    refuse(
        bool(differing) or (one.kept is None) != (other.kept is None),
        f"These records are of two models or texts: they differ in "
        f"{', '.join(differing) or 'kept'}.",
    )


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of all of a model's numbers, by name."""
    return digest_of_tensors(named_tensors(model))
