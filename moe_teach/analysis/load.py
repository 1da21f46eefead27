"""Where the tokens went: the load of every expert over a whole data set, and domain by domain.

A single batch says little about a router. It may hold one domain only, and the last batch of an
evaluation often does. So everything here is counted first, over as many batches as there are, and
divided once at the end. As in `moe_teach.ops.balance`, what the routers *chose* is counted, whether
or not a capacity dropped it later, and padding is not.

    loads = loads_of(model, evaluation_batches(...), ("code", "english"))
    print(load_table(loads))
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.data.batches import Batch, text_mask
from moe_teach.nn.mode import in_evaluation
from moe_teach.ops.balance import counts, load, load_entropy, max_violation
from moe_teach.types import Routing

DEAD_BELOW = 0.1  # of the fair share 1 / E


def dead_experts(
    load_or_counts: Float[Tensor, " E"] | Int[Tensor, " E"], below: float = DEAD_BELOW
) -> tuple[int, ...]:
    """Return the experts that hardly anybody chooses, by number.

    An expert is called dead when its load is less than a tenth of the fair share 1 / E. The border
    is a convention. It lies above zero because a dying expert still catches stray tokens, and far
    below one because an expert for a rare kind of text may well be used a third as often.

    Args:
        load_or_counts: the load of each expert, or how many choices fell on it; over a whole data
            set, because over one short batch a living expert can have no token at all.
        below: the border, in fair shares.

    Raises:
        ValueError: the border is not between 0 and 1.
    """
    refuse(not 0 <= below <= 1, f"The border lies between 0 and 1 fair share, but it is {below}.")
    total = load_or_counts.sum()
    if total == 0:  # nobody chose anything: that is no sign of death
        return ()
    in_fair_shares = load_or_counts / total * load_or_counts.numel()
    return tuple(torch.nonzero(in_fair_shares < below).flatten().tolist())


@dataclass(frozen=True)
class LayerLoad:
    """What the router of one layer did, as counts: `counts[d, e]` choices of expert e in domain d.

    Everything else follows from the counts, so that records of several data sets can be added
    (`one + other`).
    """

    counts: Int[Tensor, "domains E"]
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        refuse(
            len(self.domains) != len(self.counts),
            f"There are {len(self.counts)} rows of counts for {len(self.domains)} domains: give "
            "one name for each row.",
        )

    def __add__(self, other: "LayerLoad") -> "LayerLoad":
        refuse(
            self.domains != other.domains or self.n_experts != other.n_experts,
            "These records are of different domains or numbers of experts: they cannot be added.",
        )
        return LayerLoad(self.counts + other.counts, self.domains)

    @property
    def n_experts(self) -> int:
        """How many experts there are (E)."""
        return self.counts.shape[1]

    @property
    def load(self) -> Float[Tensor, " E"]:
        """The share of all choices on each expert; the sum is 1."""
        return load(self.counts.sum(dim=0))

    @property
    def load_per_domain(self) -> Float[Tensor, "domains E"]:
        """For each domain, the share of its choices on each expert; every row sums to 1."""
        return torch.stack([load(counts) for counts in self.counts])

    @property
    def dead(self) -> tuple[int, ...]:
        """The experts with less than a tenth of the fair share (see `dead_experts`)."""
        return dead_experts(self.counts.sum(dim=0))

    @property
    def entropy(self) -> float:
        """The entropy of the load divided by log E: 1 is even, 0 is collapse."""
        return float(load_entropy(self.counts.sum(dim=0)))

    @property
    def max_violation(self) -> float:
        """By how much the busiest expert exceeds the mean: 0 is even, E - 1 is collapse."""
        return float(max_violation(self.counts.sum(dim=0)))

    def as_dict(self, digits: int = 4) -> dict[str, Any]:
        """Return the record in plain numbers, for JSON."""
        rows = zip(self.domains, self.load_per_domain, strict=True)
        return {
            "load": _rounded(self.load, digits),
            "load_per_domain": {domain: _rounded(row, digits) for domain, row in rows},
            "dead": list(self.dead),
            "entropy": round(self.entropy, digits),
            "max_violation": round(self.max_violation, digits),
        }


class LoadTally:
    """Running counts over batches: `add` each, `read` once.

    Args:
        domains: the names behind the `domain_ids` of batches; None for text of one kind.
    """

    def __init__(self, domains: Sequence[str] | None = None) -> None:
        self.domains = ("all",) if domains is None else tuple(domains)
        refuse(not self.domains, "Name at least one domain, or give None for text of one kind.")
        self._counts: list[Tensor] = []

    def add(
        self,
        routings: Sequence[Routing],
        domain_ids: Int[Tensor, " rows"] | None = None,
        real: Bool[Tensor, "..."] | None = None,
    ) -> None:
        """Count the choices of one batch.

        Args:
            routings: one for each MoE layer, as the model returns them.
            domain_ids: the domain of each sequence, or of each token. They may be left out where
                there is one domain.
            real: which tokens are text, one answer for each in any shape; by default all.

        Raises:
            ValueError: the domains or the layers do not fit what was said or counted before.
        """
        found = [self._counts_of(routing, domain_ids, real) for routing in routings]
        refuse(
            bool(self._counts) and [c.shape for c in found] != [c.shape for c in self._counts],
            "This batch comes from another model than those before: its layers or experts differ.",
        )
        pairs = zip(self._counts, found, strict=True)
        self._counts = [before + now for before, now in pairs] if self._counts else found

    def read(self) -> tuple[LayerLoad, ...]:
        """Return the record of each MoE layer, from bottom to top.

        Raises:
            ValueError: nothing was counted.
        """
        refuse(
            not self._counts,
            "Nothing was counted: there was no batch, or the model has no layer with experts.",
        )
        return tuple(LayerLoad(counts.clone(), self.domains) for counts in self._counts)

    def _counts_of(
        self, routing: Routing, domain_ids: Tensor | None, real: Tensor | None
    ) -> Tensor:
        ids, n_domains, n_tokens = routing.expert_ids, len(self.domains), len(routing.expert_ids)
        if domain_ids is None:
            refuse(
                n_domains > 1, f"Say which of the domains {self.domains} each sequence belongs to."
            )
            domain_ids = ids.new_zeros(1)
        refuse(
            len(domain_ids) == 0 or n_tokens % len(domain_ids) != 0,
            f"{n_tokens} tokens cannot belong to {len(domain_ids)} sequences of one length.",
        )
        refuse(
            int(domain_ids.min()) < 0 or int(domain_ids.max()) >= n_domains,
            f"Domain ids must lie between 0 and {n_domains - 1}, one for each of {self.domains}.",
        )
        of_token = domain_ids.to(ids.device).repeat_interleave(n_tokens // len(domain_ids))
        text = None if real is None else real.flatten().to(ids.device)
        return counts(routing, of_token, n_domains, text).cpu()


@torch.no_grad()
def loads_of(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] | None = None
) -> tuple[LayerLoad, ...]:
    """Send text through a model in evaluation mode and return what each layer's router did.

    Args:
        model: called as `model(token_ids) -> ModelOutput`, where a batch has a mask of text as
            `model(token_ids, real=...)`; its mode is left as it was found.
        batches: for example `moe_teach.data.batches.evaluation_batches(...)`.
        domains: the names behind the batches' `domain_ids`; None throws all text together.

    Raises:
        ValueError: there is no batch, or no layer with experts.
    """
    device = next(model.parameters()).device
    tally = LoadTally(domains)
    with in_evaluation(model):
        for batch in batches:
            here = batch.to(device)
            of_row = None if domains is None else here.domain_ids
            tally.add(here.through(model).routings, of_row, text_mask(here.targets, here.real))
    return tally.read()


def load_table(loads: Sequence[LayerLoad]) -> str:
    """Return a line of text for each layer, and below it where each domain goes most."""
    lines = []
    for number, layer in enumerate(loads):
        lines.append(
            f"layer {number}: entropy {layer.entropy:.3f}, "
            f"max violation {layer.max_violation:.2f}, dead experts: {_named(layer.dead)}"
        )
        for domain, shares in zip(layer.domains, layer.load_per_domain, strict=True):
            top = shares.topk(min(3, layer.n_experts))
            most = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            told = ", ".join(f"expert {expert} {share:.0%}" for expert, share in most)
            lines.append(f"  {domain:12} {told}")
    return "\n".join(lines)


def _named(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) if numbers else "none"


def _rounded(row: Tensor, digits: int) -> list[float]:
    return [round(share, digits) for share in row.tolist()]
