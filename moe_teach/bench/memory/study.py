"""How often a cache hits, and how well guesses come true, on traces of the shipped model.

No clock is read. The unit is a text: intervals are those of a mean over texts of all domains
(Student's t, 95 %), and a difference is taken text by text before it is averaged.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from moe_teach.data.corpus import build_corpus
from moe_teach.deploy.store.foresight import as_before, by_load, forecast
from moe_teach.deploy.store.policies import LFRU, LFU, LRU, Optimum, Pinned, Policy, hottest
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import Trace, drawn, record_trace, shuffled, taking_turns
from moe_teach.nn.model import Model
from moe_teach.text_table import aligned, in_markdown
from moe_teach.train.differences import paired
from moe_teach.train.shipped import load_shipped

N_TOKENS = 1024


@dataclass(frozen=True, eq=False)
class Text:
    """One text of a domain, its trace, and that of another text of the domain as its profile."""

    domain: str
    token_ids: torch.Tensor
    trace: Trace
    profile: Trace


def texts(model: Model, tokenizer: object, per_domain: int) -> list[Text]:
    """Record neighbouring stretches of every domain's validation text."""
    found = []
    for domain, whole in build_corpus().validation.items():
        ids = torch.tensor(tokenizer.encode(whole[: 12 * N_TOKENS * (per_domain + 1)]))
        parts = ids[: N_TOKENS * (per_domain + 1)].split(N_TOKENS)
        traces = [record_trace(model, part) for part in parts]
        own = zip(parts[1:], traces[1:], traces, strict=False)
        found += [Text(domain, part, trace, before) for part, trace, before in own]
    return found


def hit_rates(text: Text, others: Sequence[Text], room: int) -> dict[str, float]:
    """Return the hit rate of every policy and control, with room for so many experts a layer."""
    trace, budget = text.trace, room * text.trace.n_layers
    shape = len(trace), trace.n_layers, trace.n_experts, trace.expert_ids.shape[2]
    alike = drawn(*shape, seed=int(text.token_ids.sum()))
    policies: dict[str, Callable[[], Policy]] = {
        "LRU per layer": lambda: LRU(per_layer=True),
        "LRU": LRU,
        "LFU per layer": lambda: LFU(per_layer=True),
        "LFRU per layer": lambda: LFRU(per_layer=True),
        "LFRU": LFRU,
        "pinned half per layer": lambda: Pinned(hottest(text.profile, room // 2), per_layer=True),
        "optimum per layer": lambda: Optimum(trace, per_layer=True),
        "optimum": lambda: Optimum(trace),
    }
    rates = {name: simulate(trace, make(), budget, 1).hit_rate for name, make in policies.items()}
    users = taking_turns([text.trace.first(256), *(other.trace.first(256) for other in others)])
    for name, other in (("even", alike), ("shuffled", shuffled(trace)), ("4 users", users)):
        rates[f"LRU per layer, {name}"] = simulate(other, LRU(per_layer=True), budget, 1).hit_rate
    return rates


def recalls(model: Model, text: Text) -> dict[tuple[str, int, int], list[float]]:
    """Return the recall in each layer by (who guesses, distance, number of guesses)."""
    found = {}
    trace = text.trace
    for distance in range(1, trace.n_layers):
        for n_guesses in (2, 4):
            early = forecast(model, text.token_ids, distance, n_guesses)
            control = by_load(trace, text.profile, n_guesses, distance)
            found["router, early", distance, n_guesses] = early.recall(trace).tolist()
            found["load alone", distance, n_guesses] = control.recall(trace).tolist()
    found["the token before", 1, 2] = as_before(trace).recall(trace).tolist()
    return found


def prefetching(model: Model, text: Text, room: int) -> dict[str, tuple[float, float]]:
    """Return (misses, experts read) a request, without guesses and with them."""
    trace, found = text.trace, {}
    for name, distance in (("no guesses", 0), ("distance 1", 1), ("distance 2", 2)):
        guesses = forecast(model, text.token_ids, distance) if distance else None
        budget = room * trace.n_layers
        replay = simulate(trace, LFRU(per_layer=True), budget, 1, forecast=guesses)
        missed = int(replay.misses.sum()) / replay.n_requests
        found[name] = missed, replay.moved_bytes / replay.n_requests
    return found


def interval(values: Sequence[float]) -> str:
    """Write a mean with half of its interval."""
    return f"{paired(values, [0.0] * len(values)):.3f}"


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
ROOMS = (2, 4, 8)


def _hits(rates: dict[int, list[dict[str, float]]]) -> Table:
    """Hit rates, over all texts, by room."""
    names = rates[ROOMS[0]][0]
    rows = [
        (name, *(interval([text[name] for text in rates[room]]) for room in ROOMS))
        for name in names
    ]
    return ("policy", *(f"{room} of 16" for room in ROOMS)), rows


def _differences(rates: dict[int, list[dict[str, float]]]) -> Table:
    """What was expected, as differences text by text."""
    expected = (
        ("LRU per layer", "LRU per layer, even"),
        ("optimum per layer", "LRU per layer"),
        ("LRU per layer", "LRU per layer, 4 users"),
        ("LRU per layer", "LRU per layer, shuffled"),
        ("LFRU per layer", "LRU per layer"),
        ("LFRU per layer", "LFU per layer"),
        ("LFRU per layer", "LFRU"),
        ("LFRU per layer", "pinned half per layer"),
    )
    rows = [
        (
            f"{more} - {less}",
            *(f"{paired(*_both(rates[room], more, less))}" for room in ROOMS),
        )
        for more, less in expected
    ]
    return ("difference", *(f"{room} of 16" for room in ROOMS)), rows


def _both(texts: list[dict[str, float]], one: str, other: str) -> tuple[list[float], ...]:
    return [text[one] for text in texts], [text[other] for text in texts]


def _by_domain(every: list[Text], rates: dict[int, list[dict[str, float]]]) -> Table:
    """Hit rates with room for 4 of 16, domain by domain."""
    domains = list(dict.fromkeys(text.domain for text in every))
    rows = []
    for name in rates[4][0]:
        cells = [
            interval([r[name] for r, text in zip(rates[4], every, strict=True) if text.domain == d])
            for d in domains
        ]
        rows.append((name, *cells))
    return ("4 of 16", *domains), rows


def _recalls(model: Model, every: list[Text]) -> Table:
    """Recall of guesses, layer by layer."""
    found = [recalls(model, text) for text in every]
    rows = []
    for who, distance, n_guesses in found[0]:
        layers = zip(*(text[who, distance, n_guesses] for text in found), strict=True)
        cells = ["-" if math.isnan(layer[0]) else interval(layer) for layer in layers]
        rows.append((who, str(distance), str(n_guesses), *cells))
    return ("who guesses", "distance", "guesses", *(f"layer {i}" for i in range(4))), rows


def _prefetching(model: Model, every: list[Text]) -> Table:
    """What guesses do to a cache: what is waited for, and what is read for it."""
    rows = []
    for room in ROOMS:
        found = [prefetching(model, text, room) for text in every]
        for name in found[0]:
            missed, read = zip(*(text[name] for text in found), strict=True)
            rows.append((f"{room} of 16", name, interval(missed), interval(read)))
    return ("room", "LFRU per layer with", "waited for", "read"), rows


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="moe-teach bench cache", description=__doc__)
    parser.add_argument("--texts", type=int, default=4, help="of each domain")
    parser.add_argument("--markdown", action="store_true", help="print tables for a page")
    options = parser.parse_args(argv)
    write = in_markdown if options.markdown else aligned
    model, tokenizer, _ = load_shipped()
    every = texts(model, tokenizer, options.texts)
    rates = {room: [hit_rates(text, _users(every, text), room) for text in every] for room in ROOMS}
    tables = (_hits(rates), _differences(rates), _by_domain(every, rates))
    for header, rows in (*tables, _recalls(model, every), _prefetching(model, every)):
        print(write(header, rows), end="\n\n")
    return 0


def _users(every: list[Text], text: Text) -> list[Text]:
    """Find who shares a cache with a text: the text of the same number in every other domain."""
    number = [other for other in every if other.domain == text.domain].index(text)
    domains = dict.fromkeys(other.domain for other in every if other.domain != text.domain)
    return [[other for other in every if other.domain == d][number] for d in domains]
