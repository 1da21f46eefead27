"""What the route explorer sends to the browser: a story as bytes and plain values."""

from typing import Any

import numpy as np

from moe_teach.config import refuse
from moe_teach.widgets.route_numbers import compared
from moe_teach.widgets.route_story import RoutedText, RouteStory

VIEWS = ("trained", "untrained", "shuffled")
# More could not be told apart, or would make a heavy page.
MOST_EXPERTS, MOST_TOKENS, MOST_DOMAINS, MOST_REFERENCES = 64, 200, 6, 3


def by_view(story: RouteStory) -> dict[str, np.ndarray]:
    """Name the counts that were measured by their views."""
    tables = (story.counts, story.untrained_counts, story.shuffled_counts)
    return {view: table for view, table in zip(VIEWS, tables, strict=True) if table is not None}


def packed(story: RouteStory) -> dict[str, Any]:
    """Give the traits that hold a story.

    Raises:
        ValueError: what cannot be drawn (see `RouteExplorer.of`).
    """
    _demand_drawable(story)
    every = [routes for text in story.texts for routes in (text.routes, text.untrained) if routes]
    losses = [t for each in story.texts for t in (each.loss, each.loss_without) if t is not None]
    return {
        "texts": [_described(text) for text in story.texts],
        "ids": b"".join(routes.expert_ids.astype(np.uint8).tobytes() for routes in every),
        "gates": _floats([routes.gates for routes in every]),
        "margins": _floats([routes.margins for routes in every]),
        "losses": _floats(losses),
        "counts": _floats(list(by_view(story).values())),
        "damage": _floats([story.damage] if story.damage is not None else []),
        "shape": {"n_experts": story.counts.shape[1], "top_k": every[0].gates.shape[2]},
        "domains": list(story.domains),
        "layers": list(story.layers or ()),
        "views": list(by_view(story)),
        "beyond": {name: _plain(bits) for name, bits in story.beyond_token.items()},
        "pairs": _pairs(story),
        "references": [
            {"name": r.name, "mean": _plain(r.mean), "low": _plain(r.low), "high": _plain(r.high)}
            for r in story.references
        ],
        "noise": float(story.noise),
        "text": story.texts[0].name,
    }


def _described(text: RoutedText) -> dict[str, Any]:
    return {
        "name": text.name,
        "domain": text.domain,
        "tokens": text.tokens,
        "has_loss": text.loss is not None,
        "has_removed": text.loss_without is not None,
    }


def _pairs(story: RouteStory) -> list[dict[str, Any]]:
    """Give every pair with the places that are compared in it."""
    tokens = {text.name: text.tokens for text in story.texts}
    return [
        {
            "first": first,
            "second": second,
            "places": [list(place) for place in compared(tokens[first], tokens[second])],
        }
        for first, second in story.pairs
    ]


def _floats(tables: list[np.ndarray]) -> bytes:
    return b"".join(each.astype("<f4").tobytes() for each in tables)


def _plain(values: Any) -> list[float]:
    return [] if values is None else [float(value) for value in values]


def _demand_drawable(story: RouteStory) -> None:
    n_experts, n_domains = story.counts.shape[1:]
    longest = max(len(text.tokens) for text in story.texts)
    refuse(
        n_experts > MOST_EXPERTS or n_domains > MOST_DOMAINS or longest > MOST_TOKENS,
        f"The explorer has room for {MOST_EXPERTS} experts, {MOST_DOMAINS} domains and "
        f"{MOST_TOKENS} tokens of a text, not for {n_experts}, {n_domains} and {longest}.",
    )
    refuse(
        len(story.references) > MOST_REFERENCES,
        f"More than {MOST_REFERENCES} references could not be told apart.",
    )
