"""Take one expert out of a model, and see what it costs whom.

The expert is closed: its logit becomes minus infinity, and the token goes to the best K of the
others, with the gates they would have if it had never been there. (The other way, keeping the
choice and putting the gate to 0, would leave tokens with K - 1 experts and a smaller answer, which
is another question.)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.analysis.interventions.answers import answers_of, moe_layers
from moe_teach.analysis.load import loads_of
from moe_teach.analysis.specialisation.intervals import Interval, bootstrap
from moe_teach.config import RouterConfig, refuse
from moe_teach.data.batches import Batch
from moe_teach.nn.router import Router
from moe_teach.ops.route import gates_of, score, top_experts
from moe_teach.ops.route.variants import group_mask
from moe_teach.types import Routing


@contextmanager
def without_expert(model: nn.Module, layer: int, expert: int) -> Iterator[None]:
    """Close an expert to all tokens for a while; no weight is touched, before or after.

    Args:
        model: with routers of the library, where tokens choose.
        layer: of the layers with experts, counted from 0 as in a record of routes.
        expert: its number.

    Raises:
        ValueError: there is no such expert, or too few would be left for the K of a token, or the
            experts of a token stand in a table or choose themselves.
    """
    layers = moe_layers(model)
    refuse(
        layer not in range(len(layers)),
        f"There is no layer {layer} of experts: they are counted from 0 to {len(layers) - 1}.",
    )
    router = layers[layer].router
    _demand_closable(router, layer, expert)

    def close(_router: nn.Module, _inputs: object, routing: Routing) -> Routing:
        return without(routing, expert, router.config, router.expert_bias)

    handle = router.register_forward_hook(close)
    try:
        yield
    finally:
        handle.remove()


def without(
    routing: Routing, expert: int, config: RouterConfig, expert_bias: Float[Tensor, " E"]
) -> Routing:
    """Decide again with an expert closed: the same logits without its own."""
    closed = torch.arange(routing.n_experts, device=routing.logits.device) == expert
    logits = routing.logits.masked_fill(closed, -torch.inf)
    probs = score(logits, config.score_fn).masked_fill(closed, 0.0)
    ranking = probs + expert_bias
    if config.n_groups > 1:
        # A closed expert makes its group as bad as its others are, not impossible.
        may_choose = group_mask(ranking, config.n_groups, config.top_groups, config.group_score)
        ranking = ranking.masked_fill(~may_choose, -torch.inf)
    expert_ids = top_experts(ranking.masked_fill(closed, -torch.inf), config.top_k)
    return Routing(logits, probs, gates_of(config, logits, probs, expert_ids), expert_ids)


def _demand_closable(router: nn.Module, layer: int, expert: int) -> None:
    config = getattr(router, "config", None)
    refuse(
        not isinstance(router, Router) or config.choice != "token",
        f"In layer {layer} tokens do not choose by a ranking (a table or the experts decide, or it "
        "is another kind of router), so no choice is left to make again without an expert.",
    )
    demand_left(config, expert, f"layer {layer}")


def demand_left(config: RouterConfig, expert: int, where: str) -> None:
    """Refuse to close an expert that is not there, or without which a token has too few."""
    refuse(
        expert not in range(config.n_experts),
        f"There is no expert {expert} in {where}: they are counted from 0 to "
        f"{config.n_experts - 1}.",
    )
    left = config.n_experts // config.n_groups * config.top_groups - 1
    refuse(
        left < config.top_k,
        f"Without expert {expert} a token would have only {left} to choose from, and it needs "
        f"{config.top_k}.",
    )


@dataclass(frozen=True, eq=False)
class KnockOuts:
    """What the loss of every row became without each expert, and how busy the expert was.

    `loss` is in nats per token, row by row; `rise[l, e, r]` is what the row loses more without
    expert e of layer l. `load[l, e, d]` is the expert's share of the choices of domain d.
    """

    loss: Float[Tensor, " rows"]
    rise: Float[Tensor, "L E rows"]
    n_tokens: Int[Tensor, " rows"]
    domain_ids: Int[Tensor, " rows"]
    domains: tuple[str, ...]
    load: Float[Tensor, "L E domains"]

    @property
    def damage(self) -> Float[Tensor, "L E domains"]:
        """The rise of the loss of each domain, in nats per token."""
        shares = [self._shares(domain) for domain in range(len(self.domains))]
        return self.rise @ torch.stack(shares, 1)

    def interval(self, layer: int, expert: int, domain: str, seed: int = 0) -> Interval:
        """Return the damage with its bootstrap interval over the rows of a domain."""
        mine = self.domain_ids == self.domains.index(domain)
        rise, n_tokens = self.rise[layer, expert, mine], self.n_tokens[mine].double()

        def mean(rows: Tensor) -> float:
            return float((rise[rows] * n_tokens[rows]).sum() / n_tokens[rows].sum())

        return bootstrap(mean, torch.arange(len(rise)), seed=seed)

    def _shares(self, domain: int) -> Float[Tensor, " rows"]:
        mine = self.n_tokens.double() * (self.domain_ids == domain)
        return mine / mine.sum()


def knock_out_damage(
    model: nn.Module,
    batches: Sequence[Batch],
    domains: Sequence[str] = ("text",),
    experts: Sequence[tuple[int, int]] | None = None,
) -> KnockOuts:
    """Close one expert after the other, and measure all texts again each time.

    Args:
        model: with routers of the library.
        batches: the texts; every expert costs one pass over them.
        domains: the names behind the batches' `domain_ids`.
        experts: (layer, expert) pairs; all by default. The rise of the others stays NaN.

    Raises:
        ValueError: an expert cannot be closed (see `without_expert`), or there is no text.
    """
    before, n_tokens, domain_ids = _row_losses(model, batches)
    loads = torch.stack([one.load_per_domain.T for one in loads_of(model, batches, domains)])
    rise = torch.full((*loads.shape[:2], len(before)), torch.nan, dtype=torch.float64)
    everyone = [(i, e) for i in range(rise.shape[0]) for e in range(rise.shape[1])]
    for layer, expert in everyone if experts is None else experts:
        with without_expert(model, layer, expert):
            rise[layer, expert] = _row_losses(model, batches)[0] - before
    return KnockOuts(before, rise, n_tokens, domain_ids, tuple(domains), loads.double())


def _row_losses(
    model: nn.Module, batches: Sequence[Batch]
) -> tuple[Float[Tensor, " rows"], Int[Tensor, " rows"], Int[Tensor, " rows"]]:
    answers = answers_of(model, batches)
    rows, place, counts = answers.sequence_ids.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(rows), dtype=torch.float64)
    sums.index_add_(0, place, answers.losses.double())
    domains = torch.zeros_like(rows).index_copy_(0, place, answers.domain_ids)
    return sums / counts, counts, domains
