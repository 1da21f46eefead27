"""Chapter 11: the shipped model's routes as the story that the route explorer shows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from moe_teach.analysis.interventions.knock_out import without_expert
from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.nulls import permuted_by_sequence
from moe_teach.chapters.ch11_reading_the_router.experiments.pairs import CONTROL, TEMPLATES
from moe_teach.chapters.ch11_reading_the_router.experiments.reading import counted
from moe_teach.chapters.ch11_reading_the_router.keeping import stored_sample
from moe_teach.chapters.ch11_reading_the_router.path_divergence import divergence
from moe_teach.nn.model import Model
from moe_teach.widgets.route_story import Reference, RoutedText, Routes, RouteStory

PAIR = tuple(TEMPLATES[0].format(word) for word in ("his", "her"))
EXCHANGED = {
    "code": (" if", " return"),
    "english": (" for", " of"),
    "languages": ("2", "4"),
    "arithmetic": (" -", " +"),
}
"""For the lesson's text of each domain: a token of it, and another of its tokens put there."""


@torch.no_grad()
def routes_of(model: Model, texts: Int[Tensor, "N S"]) -> list[Routes]:
    """Route texts of one length."""
    n_texts, tables = len(texts), []
    for routing in model(texts).routings:
        best = routing.probs.topk(routing.top_k + 1, dim=-1).values
        own = (routing.expert_ids, routing.gates, best[:, -2] - best[:, -1])
        tables.append([part.unflatten(0, (n_texts, -1)) for part in own])
    ids, gates, margins = (torch.stack(layers, dim=2) for layers in zip(*tables, strict=True))
    return [Routes(*parts) for parts in zip(ids, gates, margins, strict=True)]


@torch.no_grad()
def _losses(model: Model, texts: Int[Tensor, "N S"]) -> Float[Tensor, "N S"]:
    """Return the loss of every token; nothing predicts the first."""
    logits = model(texts).logits[:, :-1].float()
    found = cross_entropy(logits.transpose(1, 2), texts[:, 1:], reduction="none")
    return torch.cat([torch.full((len(texts), 1), torch.nan), found], dim=1)


def _losses_without(model: Model, texts: Int[Tensor, "N S"]) -> Float[Tensor, "N S L E"]:
    sizes = model.config.n_layers, model.config.moe.router.n_experts
    found = torch.zeros(*texts.shape, *sizes)
    for layer in range(sizes[0]):
        for expert in range(sizes[1]):
            with without_expert(model, layer, expert):
                found[..., layer, expert] = _losses(model, texts)
    return found


def story_of(
    model: Model,
    untrained: Model,
    tokenizer: Any,
    texts: Mapping[str, Int[Tensor, " S"]],
    records: tuple[RouteRecord, RouteRecord],
    beyond: Mapping[str, Sequence[float]],
    exchanged: Mapping[str, tuple[str, str]] = EXCHANGED,
) -> RouteStory:
    """Tell what the shipped model does with a text of each domain, alone and in pairs.

    `texts` are the tokens, equally many of each. `records` are those of the trained and the
    untrained router on a large sample. Beside the text of a domain stands the same text with one
    token exchanged, and there is a pair of sentences that differ in one word.
    """
    trained, begun = records
    twins = _twins(texts, exchanged, tokenizer)
    pair = torch.stack([torch.as_tensor(tokenizer.encode(text)) for text in PAIR])
    others = (model, untrained, tokenizer)
    named = {name: name for name in texts} | {twin: name for name, (twin, _) in twins.items()}
    rows = [*texts.values(), *(ids for _, ids in twins.values())]
    told = _told(named, torch.stack(rows), *others)
    told += _told(dict.fromkeys(PAIR, "english"), pair, *others)
    own = (trained.domain_ids, trained.sequence_ids)
    dealt = permuted_by_sequence(*own, torch.Generator().manual_seed(0))
    shuffled = replace(trained, domain_ids=dealt)
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
        pairs=[PAIR, *((name, twin) for name, (twin, _) in twins.items())],
        references=[_apart(model, tokenizer)],
    )


def _twins(
    texts: Mapping[str, Int[Tensor, " S"]],
    exchanged: Mapping[str, tuple[str, str]],
    tokenizer: Any,
) -> dict[str, tuple[str, Int[Tensor, " S"]]]:
    """Name and give each text once more, with another of its own tokens in one place."""
    found = {}
    for name, (old, new) in exchanged.items():
        tokens = [tokenizer.decode([number]) for number in texts[name].tolist()]
        ids = texts[name].clone()
        ids[tokens.index(old)] = ids[tokens.index(new)]
        found[name] = f"{name}, “{new.strip()}” for “{old.strip()}”", ids
    return found


def _told(
    names: Mapping[str, str],
    texts: Int[Tensor, "N S"],
    model: Model,
    untrained: Model,
    tokenizer: Any,
) -> list[RoutedText]:
    """Tell of texts of one length; `names` gives each a name and a domain."""
    parts = zip(
        names.items(),
        texts.tolist(),
        routes_of(model, texts),
        routes_of(untrained, texts),
        _losses(model, texts),
        _losses_without(model, texts),
        strict=True,
    )
    return [
        RoutedText(
            name,
            [tokenizer.decode([number]) for number in token_ids],
            routes,
            begun,
            domain,
            loss=loss,
            loss_without=less,
        )
        for (name, domain), token_ids, routes, begun, loss, less in parts
    ]


def _apart(model: Model, tokenizer: Any) -> Reference:
    """Measure how far paths part for pairs of words that have nothing to do with anybody."""
    shares = []
    for pair in CONTROL:
        for template in TEMPLATES:
            one, other = (torch.as_tensor(tokenizer.encode(template.format(w))) for w in pair)
            if len(one) == len(other):
                paths = [torch.as_tensor(routes_of(model, ids[None])[0].expert_ids)
                         for ids in (one, other)]  # fmt: skip
                shares.append(divergence(*paths, one, other))
    table = torch.stack(shares)
    means, ends = table.mean(dim=0), table.quantile(torch.tensor([0.05, 0.95]), dim=0)
    return Reference("other pairs of words", means.tolist(), ends[0].tolist(), ends[1].tolist())
