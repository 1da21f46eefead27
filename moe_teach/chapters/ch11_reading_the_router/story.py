"""Chapter 11: the shipped model's routes as the story that the route explorer shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.null import permuted_by_sequence
from moe_teach.chapters.ch11_reading_the_router.experiments.pairs import CONTROL, TEMPLATES
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import counted
from moe_teach.chapters.ch11_reading_the_router.keeping import keeping, stored_sample
from moe_teach.chapters.ch11_reading_the_router.path_divergence import divergence
from moe_teach.nn.model import Model
from moe_teach.widgets.route_story import Reference, RoutedText, Routes, RouteStory

PAIR = tuple(TEMPLATES[0].format(word) for word in ("his", "her"))


@torch.no_grad()
def routes_of(model: Model, token_ids: Int[Tensor, " T"]) -> Routes:
    """Route one text."""
    routings = model(token_ids[None]).routings
    margins = []
    for routing in routings:
        best = routing.probs.topk(routing.top_k + 1, dim=-1).values
        margins.append(best[:, -2] - best[:, -1])
    return Routes(
        torch.stack([routing.expert_ids for routing in routings], dim=1),
        torch.stack([routing.gates for routing in routings], dim=1),
        torch.stack(margins, dim=1),
    )


@torch.no_grad()
def _losses(model: Model, token_ids: Int[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Return the loss of every token; nothing predicts the first."""
    logits = model(token_ids[None]).logits[0, :-1].float()
    return torch.cat(
        [torch.tensor([torch.nan]), cross_entropy(logits, token_ids[1:], reduction="none")]
    )


def _losses_without(model: Model, token_ids: Int[Tensor, " T"]) -> Float[Tensor, "T L E"]:
    sizes = model.config.n_layers, model.config.moe.router.n_experts
    found = torch.zeros(len(token_ids), *sizes)
    for layer in range(sizes[0]):
        for expert in range(sizes[1]):
            kept = torch.ones(sizes, dtype=torch.bool)
            kept[layer, expert] = False
            with keeping(model, kept):
                found[:, layer, expert] = _losses(model, token_ids)
    return found


def story_of(
    model: Model,
    untrained: Model,
    tokenizer: Any,
    texts: Mapping[str, str],
    records: tuple[RouteRecord, RouteRecord],
    beyond: Mapping[str, Sequence[float]],
) -> RouteStory:
    """Tell what the shipped model does with some texts and a pair of them.

    `records` are those of the trained and the untrained router on a large sample.
    """
    trained, begun = records
    told = [
        _told(name, text, domain, model, untrained, tokenizer)
        for name, text, domain in [
            *((domain, text, domain) for domain, text in texts.items()),
            *((text, text, "english") for text in PAIR),
        ]
    ]
    own = (trained.domain_ids, trained.sequence_ids)
    dealt = permuted_by_sequence(*own, torch.Generator().manual_seed(0))
    shuffled = RouteRecord(**{**vars(trained), "domain_ids": dealt})
    samples = stored_sample()
    return RouteStory(
        told,
        trained.domains,
        counts=counted(trained),
        untrained_counts=counted(begun),
        shuffled_counts=counted(shuffled),
        beyond_token=dict(beyond),
        damage=torch.stack([samples[name].damage for name in trained.domains], dim=-1),
        noise=0.01,
        pairs=[PAIR],
        references=[_apart(model, tokenizer)],
    )


def _told(
    name: str, text: str, domain: str, model: Model, untrained: Model, tokenizer: Any
) -> RoutedText:
    token_ids = torch.as_tensor(tokenizer.encode(text))
    return RoutedText(
        name,
        [tokenizer.decode([number]) for number in token_ids.tolist()],
        routes_of(model, token_ids),
        routes_of(untrained, token_ids),
        domain,
        loss=_losses(model, token_ids),
        loss_without=_losses_without(model, token_ids),
    )


def _apart(model: Model, tokenizer: Any) -> Reference:
    """Measure how far paths part for pairs of words that have nothing to do with anybody."""
    shares = []
    for pair in CONTROL:
        for template in TEMPLATES:
            one, other = (torch.as_tensor(tokenizer.encode(template.format(w))) for w in pair)
            if len(one) == len(other):
                paths = [routes_of(model, ids).expert_ids for ids in (one, other)]
                shares.append(divergence(*map(torch.as_tensor, paths), one, other))
    table = torch.stack(shares)
    means, ends = table.mean(dim=0), table.quantile(torch.tensor([0.05, 0.95]), dim=0)
    return Reference("other pairs of words", means.tolist(), ends[0].tolist(), ends[1].tolist())
