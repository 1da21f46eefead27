"""An invented story for the route explorer, for where no model was read."""

from zlib import crc32

import numpy as np

from moe_teach.widgets.route_numbers import counts_by_domain, divergence
from moe_teach.widgets.route_story import Reference, RoutedText, Routes, RouteStory

_L, _E, _K = 4, 8, 2
_TEXTS = {
    "code": "def add ( a , b ) : ↵ return a + b ↵ for x in y : ↵ if x : ↵ return x ↵",
    "prose": "The list holds the names of all days , and the last of them is the one we want .",
    "sums": "12 + 30 = 42 ↵ 7 * 8 = 56 ↵ 120 - 46 = 74 ↵ 9 + 9 = 18 ↵",
    "the nurse": "The nurse said that the house was cold , and nobody in the house asked why .",
    "the doctor": "The doctor said that the house was cold , and nobody in the house asked why .",
}
_DOMAINS = ("code", "prose", "sums")


def example() -> RouteStory:
    """Invent a router that knows tokens, and domains a little; its untrained twin knows tokens."""
    routed = {name: words.split() for name, words in _TEXTS.items()}
    domain = {name: name if name in _DOMAINS else "prose" for name in routed}
    texts = [
        RoutedText(
            name,
            [token.replace("↵", "\n") for token in tokens],
            routes=(routes := _routes(tokens, domain[name], "trained")),
            untrained=_routes(tokens, domain[name], "untrained"),
            domain=domain[name],
            loss=(loss := _losses(tokens)),
            loss_without=loss[:, None, None] + _rises(tokens, routes),
        )
        for name, tokens in routed.items()
    ]
    counts, untrained, shuffled = (_counts(texts, how) for how in ("trained", "untrained", ""))
    load = counts.sum(2) / counts.sum((1, 2))[:, None]
    weight = _draw("weight", _L, _E, 3) ** 2 * np.linspace(0.5, 0.1, _L)[:, None, None]
    by_name = {text.name: text for text in texts}
    far = [_apart(by_name[one], by_name[other]) for one, other in (("code", "prose"),
           ("code", "sums"), ("prose", "sums"))]  # fmt: skip
    return RouteStory(
        texts,
        _DOMAINS,
        counts=counts,
        untrained_counts=untrained,
        shuffled_counts=shuffled,
        beyond_token={"trained": [0.02, 0.09, 0.17, 0.21], "untrained": [0.0, 0.01, 0.01, 0.01]},
        damage=weight * load[..., None] * counts / counts.sum(2, keepdims=True) * 8,
        noise=0.01,
        pairs=[("the nurse", "the doctor")],
        references=[Reference("two random texts", *(f(far, 0) for f in (np.mean, np.min, np.max)))],
    )


def _draw(name: str, *shape: int) -> np.ndarray:
    """Draw normal numbers that belong to a name."""
    return np.random.default_rng(crc32(name.encode())).standard_normal(shape)


def _routes(tokens: list[str], domain: str, router: str) -> Routes:
    """Rank experts by the token, and in a trained router by the domain and what came before."""
    taste = np.stack([_draw(f"{router} {token}", _L, _E) for token in tokens])
    before = np.cumsum(taste, 0) / np.arange(1, len(tokens) + 1)[:, None, None]
    depth = np.linspace(0.15, 1, _L)[None, :, None] * (router == "trained")
    logits = 2 * taste + depth * (1.6 * _draw(domain, _L, _E) + 4 * before)
    ids = np.argsort(-logits, -1, kind="stable")
    ranked = np.take_along_axis(logits, ids, -1)
    powers = np.exp(ranked[..., :_K] - ranked[..., :1])
    margins = ranked[..., _K - 1] - ranked[..., _K]
    return Routes(ids[..., :_K], powers / powers.sum(-1, keepdims=True), margins)


def _losses(tokens: list[str]) -> np.ndarray:
    losses = np.array([1.5 + abs(_draw(token, 1)[0]) for token in tokens])
    losses[0] = np.nan  # nothing comes before it
    return losses


def _rises(tokens: list[str], routes: Routes) -> np.ndarray:
    """Let a token's loss rise with the gate of the expert that is taken away."""
    rises = np.zeros((len(tokens), _L, _E))
    share = np.abs(_draw("share", len(tokens), _L, 1)) * np.linspace(1.2, 0.2, _L)[None, :, None]
    np.put_along_axis(rises, routes.expert_ids, routes.gates * share, -1)
    return rises


def _counts(texts: list[RoutedText], how: str) -> np.ndarray:
    """Count the choices of the texts, many times over; without `how` every domain gets all."""
    each = []
    for text in texts:
        routes = text.untrained if how == "untrained" and text.untrained else text.routes
        labels = np.full(len(text.tokens), _DOMAINS.index(text.domain))
        each.append(40 * counts_by_domain(routes.expert_ids, labels, _E, len(_DOMAINS)))
    counts = np.sum(each, axis=0)
    if how:
        return counts
    noise = 1 + 0.1 * _draw("shuffled", *counts.shape)
    return np.round(counts.sum(2, keepdims=True) * counts.sum((0, 1)) / counts.sum() * noise)


def _apart(first: RoutedText, second: RoutedText) -> np.ndarray:
    """Compare two texts that have nothing to do with each other, place by place."""
    n = min(len(first.tokens), len(second.tokens))
    places = [(i, i) for i in range(n)]
    return divergence(first.routes.expert_ids, second.routes.expert_ids, places)
