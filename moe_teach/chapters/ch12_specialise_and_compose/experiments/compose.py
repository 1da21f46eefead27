"""Chapter 12: branches of one dense seed put side by side, and one of their experts swapped.

The unit of length is n steps: the seed learns n on all four domains, each of three branches n on
its own, and the merged model's router 0.4 n on all. "Jointly" is the dense control of equal steps.

"Average" and "frozen" differ in two things, what a branch trains and whose trunk the merged model
has. "Whole on the seed's trunk" differs from each in one: branches learn whole, as for the average,
and their feed-forwards are then put on the trunk of the seed, as with the frozen one.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from moe_teach.chapters.ch12_specialise_and_compose.experiments.parts import (
    RATES,
    anything,
    dense,
    learn,
    losses,
)
from moe_teach.chapters.ch12_specialise_and_compose.new_skill import SKILL
from moe_teach.compose.branches import average, merge_branches
from moe_teach.compose.slots import ExpertSlot, layers_with_experts, read_expert, write_expert
from moe_teach.compose.trainable import is_feed_forward, is_router
from moe_teach.data.corpus import DOMAINS
from moe_teach.nn.model import Model
from moe_teach.train.horizons import Horizon, chosen, search

BRANCHES = ("code", "languages", "arithmetic")
SLOT = 1 + BRANCHES.index("arithmetic")  # expert 0 is the seed's
WHOLE_ON_SEED = "whole on the seed's trunk"
WAYS = {name: name for name in ("average", "frozen", "jointly", WHOLE_ON_SEED)}
LENGTHS = (50, 150, 500)
SEARCHED = search(WAYS, LENGTHS, RATES) | search(WAYS, LENGTHS[2:], (0.001,))


def router_steps(n: int) -> int:
    """Return how long the merged model's router learns."""
    return 2 * n // 5


def measure_compose(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train a seed, its branches and the merged router; report losses of everything on the way."""
    n, lr, way = horizon.steps, horizon.lr, horizon.setting
    model = dense(seed)
    if way == "jointly":
        learn(model, DOMAINS, n * (1 + len(BRANCHES)) + router_steps(n), lr, seed)
        return {"tuned": losses(model)}
    learn(model, DOMAINS, n, lr, seed)
    experts = [model, *(branch(model, name, way, n, lr, seed) for name in BRANCHES)]
    merged = merged_in(way, experts, seed)
    result = {
        "seed": losses(model),
        "branches": {name: losses(one) for name, one in zip(BRANCHES, experts[1:], strict=True)},
        "weights averaged": losses(average(experts)),
        "untuned": losses(merged),
    }
    learn(merged, DOMAINS, router_steps(n), lr, seed + 100, is_router)
    result["tuned"] = losses(merged)
    return result | (swaps(merged, experts, n, lr, seed) if way == "frozen" else {})


def branch(model: Model, domain: str, way: str, n: int, lr: float, seed: int) -> Model:
    """Train a copy of the seed on one domain: all of it, or its feed-forwards alone."""
    own = deepcopy(model)
    learn(own, (domain,), n, lr, seed + 1, is_feed_forward if way == "frozen" else anything)
    return own


def merged_in(way: str, experts: list[Model], seed: int) -> Model:
    """Put the feed-forwards of seed and branches side by side, on the trunk that the way names."""
    if way == WHOLE_ON_SEED:
        experts = [on_trunk(one, experts[0]) for one in experts]
    return merge_branches(experts, trunk="average" if way == "average" else "frozen", seed=seed)


def on_trunk(model: Model, other: Model) -> Model:
    """Return a model's feed-forwards on the trunk of another."""
    trunk = {name: one for name, one in other.state_dict().items() if not is_feed_forward(name)}
    own = deepcopy(model)
    own.load_state_dict(trunk, strict=False)
    return own


def swaps(merged: Model, experts: list[Model], n: int, lr: float, seed: int) -> dict[str, Any]:
    """Put other experts in the place of arithmetic's, measure, and put the old one back."""
    specialist = deepcopy(experts[SLOT])
    learn(specialist, ("arithmetic", SKILL), n, lr, seed + 2, is_feed_forward)
    before = {name: tensor.clone() for name, tensor in merged.state_dict().items()}
    old = slots_of(merged)
    result = {"specialist": losses(specialist)}
    contents = {"installed": specialist, "seed's expert": experts[0], "code's expert": experts[1]}
    for name, content in contents.items():
        put(merged, filled(merged, experts, content))
        result[name] = losses(merged)
        put(merged, old)
    result["rolled back"] = losses(merged)
    after = merged.state_dict()
    result["bitwise"] = all(torch.equal(after[name], was) for name, was in before.items())
    put(merged, filled(merged, experts, specialist))
    learn(merged, (*DOMAINS, SKILL), n // 5, lr, seed + 200, is_router)
    return result | {"installed, router tuned": losses(merged)}


def filled(merged: Model, experts: list[Model], content: Model) -> dict[int, ExpertSlot]:
    """Return slots with a dense model's feed-forwards and the router rows that are there now."""
    donor = merge_branches([*experts[:SLOT], content], trunk="frozen")
    now = slots_of(merged)
    return {
        layer: replace(slot, router=now[layer].router) for layer, slot in slots_of(donor).items()
    }


def slots_of(model: Model) -> dict[int, ExpertSlot]:
    """Read arithmetic's expert in every layer."""
    return {layer: read_expert(model, layer, SLOT) for layer in layers_with_experts(model)}


def put(model: Model, slots: dict[int, ExpertSlot]) -> None:
    """Write an expert into arithmetic's place in every layer."""
    for layer, slot in slots.items():
        write_expert(model, layer, SLOT, slot)


def recovered(result: dict[str, Any]) -> float:
    """Return which share of the best branches' gain over the seed the merged model has.

    The oracle takes for each domain whichever of seed and branches reads it best.
    """
    candidates = [result["seed"], *result["branches"].values()]
    gain = sum(result["seed"][d] - min(one[d] for one in candidates) for d in DOMAINS)
    return sum(result["seed"][d] - result["tuned"][d] for d in DOMAINS) / gain


BEST: Mapping[int, Mapping[str, float]] = {
    50: dict.fromkeys(WAYS, 0.008),
    150: {"average": 0.004, "frozen": 0.008, "jointly": 0.004, WHOLE_ON_SEED: 0.008},
    500: {"average": 0.002, "frozen": 0.004, "jointly": 0.002, WHOLE_ON_SEED: 0.004},
}
"""The best of `12_compose_rates`, at each length."""
CHOSEN = chosen(WAYS, BEST)
