"""The record that the route explorer shows: texts and their paths, counts, damage, pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.config import refuse
from moe_teach.widgets.route_numbers import Array, compared, table


@dataclass(frozen=True, eq=False)
class Routes:
    """What one router did with one text: T tokens, L layers, K choices, the first choice first.

    Args:
        expert_ids: (T, L, K).
        gates: (T, L, K), the routing weights of those experts.
        margins: (T, L), by how much the last chosen expert beat the first one left out, in the
            units of what was ranked; infinite where nobody was left out.

    Raises:
        ValueError: for shapes that do not fit, ids that are no whole numbers from 0 on, or
            numbers that are not finite.
    """

    expert_ids: Array
    gates: Array
    margins: Array

    def __post_init__(self) -> None:
        """Take lists and tensors too, and refuse what cannot be shown."""
        ids = table("expert_ids", self.expert_ids, (None, None, None))
        refuse(
            bool((ids != np.round(ids)).any()) or bool((ids < 0).any()),
            "expert_ids must be whole numbers from 0 on: every token has all its K choices.",
        )
        object.__setattr__(self, "expert_ids", ids.astype(np.int64))
        object.__setattr__(self, "gates", table("gates", self.gates, ids.shape))
        margins = table("margins", self.margins, ids.shape[:2], also=np.inf)
        object.__setattr__(self, "margins", margins)

    @classmethod
    def of(cls, record: RouteRecord) -> "Routes":
        """Take the routes of one text from a record.

        Raises:
            ValueError: when the record holds more than one.
        """
        n_texts = len(record.sequence_ids.unique())
        refuse(n_texts != 1, f"The record holds {n_texts} texts: take one of them with `only`.")
        return cls(record.expert_ids, record.gates, record.margins)


@dataclass(frozen=True, eq=False)
class RoutedText:
    """One text, token by token, and its paths.

    Args:
        name: by which it is chosen.
        tokens: as they are to be read.
        routes: what the trained router did.
        untrained: what an untrained router did with the same tokens, or None.
        domain: where the text comes from, "" for nowhere in particular.
        loss: (T,) nats, the loss of predicting each token; NaN for one that nothing predicts,
            as the first; None where it was not measured.
        loss_without: (T, L, E) nats, the same with expert e of layer l taken away; None where it
            was not measured.

    Raises:
        ValueError: for lengths that do not fit, or a `loss_without` that has no `loss` beside it.
    """

    name: str
    tokens: list[str]
    routes: Routes
    untrained: Routes | None = None
    domain: str = ""
    loss: Array | None = None
    loss_without: Array | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        object.__setattr__(self, "tokens", [str(token) for token in self.tokens])
        shape, n_tokens = self.routes.expert_ids.shape, len(self.tokens)
        refuse(
            n_tokens != shape[0] or n_tokens == 0,
            f"The text {self.name!r} has {n_tokens} tokens and routes for {shape[0]}: give the "
            "same tokens that were routed, at least one.",
        )
        refuse(
            self.untrained is not None and self.untrained.expert_ids.shape != shape,
            f"The untrained router of {self.name!r} must have routed the same tokens through as "
            "many layers and choices.",
        )
        refuse(
            self.loss_without is not None and self.loss is None,
            f"The text {self.name!r} has a loss without each expert, but no loss with them all.",
        )
        if self.loss is not None:
            object.__setattr__(self, "loss", table("loss", self.loss, (n_tokens,), also=np.nan))
        if self.loss_without is not None:
            shape = (n_tokens, shape[1], None)
            less = table("loss_without", self.loss_without, shape, also=np.nan)
            object.__setattr__(self, "loss_without", less)


@dataclass(frozen=True)
class Reference:
    """How far paths part in pairs that serve as a control: one share for each layer.

    `low` and `high` are the ends of an interval, where there is one.
    """

    name: str
    mean: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, eq=False)
class RouteStory:
    """Everything the explorer shows, as plain data. L layers, E experts, D domains.

    Args:
        texts: at least one, all through the same model.
        domains: names, in the order of every D below.
        counts: (L, E, D), how often each expert was chosen in each domain of a large sample.
        untrained_counts: the same sample through an untrained router; None where not measured.
        shuffled_counts: the trained router's, with the domains dealt anew to whole texts.
        beyond_token: for "trained" and "untrained", (L,) bits that the expert tells of the domain
            to somebody who knows the token, with the bias of counting taken off.
        damage: (L, E, D) nats, by how much the loss of a domain rises without that expert.
        noise: nats; a damage below it means nothing.
        pairs: (name of a text, name of the text beside it).
        references: how far paths part in other pairs; see `divergence`.
        layers: what to call the layers; by default their numbers.

    Raises:
        ValueError: for texts of different models, unknown names, or shapes that do not fit.
    """

    texts: list[RoutedText]
    domains: Sequence[str]
    counts: Array
    untrained_counts: Array | None = None
    shuffled_counts: Array | None = None
    beyond_token: Mapping[str, Array] = field(default_factory=dict)
    damage: Array | None = None
    noise: float | int = 0.0
    pairs: Sequence[Sequence[str]] = ()
    references: Sequence[Reference] = ()
    layers: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        refuse(not self.texts, "A story needs at least one text.")
        refuse(
            len({text.routes.expert_ids.shape[1:] for text in self.texts}) > 1
            or len({text.name for text in self.texts}) < len(self.texts),
            "All texts must go through the same layers with as many choices, each under a name "
            "of its own.",
        )
        n_layers = self.texts[0].routes.expert_ids.shape[1]
        counts = table("counts", self.counts, (n_layers, None, len(self.domains)))
        for name in ("counts", "untrained_counts", "shuffled_counts", "damage"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, table(name, getattr(self, name), counts.shape))
        names = list(self.layers or map(str, range(n_layers)))
        object.__setattr__(self, "layers", names)
        self._refuse_misfits()

    def _refuse_misfits(self) -> None:
        (n_layers, n_experts, _), names = self.counts.shape, {text.name for text in self.texts}
        for text in self.texts:
            for routes in filter(None, (text.routes, text.untrained)):
                refuse(
                    int(routes.expert_ids.max()) >= n_experts,
                    f"The text {text.name!r} names expert {int(routes.expert_ids.max())}, but "
                    f"counts speak of {n_experts} experts.",
                )
            less = text.loss_without
            refuse(
                less is not None and less.shape[2] != n_experts,
                f"loss_without of {text.name!r} must speak of the {n_experts} experts of counts.",
            )
        refuse(
            bool((self.counts < 0).any()) or not (self.counts.sum((1, 2)) > 0).all(),
            "counts must not be negative, and every layer needs some.",
        )
        refuse(
            any((text.untrained is None) != (self.untrained_counts is None) for text in self.texts),
            "An untrained router is shown with its counts and its routes of every text, or not at "
            "all.",
        )
        shares = [s for r in self.references for s in (r.mean, r.low, r.high) if s is not None]
        refuse(
            any(len(s) != n_layers for s in (*shares, *self.beyond_token.values(), self.layers)),
            f"layers, beyond_token and references need one entry for each of the {n_layers} "
            "layers.",
        )
        known = {"trained", "untrained"}
        refuse(not set(self.beyond_token) <= known, f"beyond_token may hold {sorted(known)}.")
        unknown = {name for pair in self.pairs for name in pair} - names
        refuse(bool(unknown), f"The pairs name texts that are not there: {sorted(unknown)}.")
        by_name = {text.name: text for text in self.texts}
        for first, second in self.pairs:
            refuse(
                not compared(by_name[first].tokens, by_name[second].tokens),
                f"The texts {first!r} and {second!r} share no token after the first place where "
                "they differ: there is nothing to compare.",
            )
