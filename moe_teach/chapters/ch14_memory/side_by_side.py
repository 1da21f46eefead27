"""Caches of experts of one size, side by side: what `simulate` finds, with fewer questions.

A policy is asked when somebody must leave, about all who may, and all policies at once: in another
process each message costs as much as hundreds of answers.
"""

from bisect import insort
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from moe_teach.chapters.ch14_memory.asking import worths
from moe_teach.deploy.store.policies import Key
from moe_teach.deploy.store.trace import Trace

Request = tuple[int, int, list[Key]]  # step, layer, whom the layer wants
_Run = Generator[list[Key], list[Any], list[int]]


def requests_of(trace: Trace) -> list[Request]:
    """List what a trace asks for, in the order of decoding."""
    return [
        (step, layer, [Key(layer, expert) for expert in experts])
        for step, layer, experts in trace.requests()
    ]


def found_in_memory(
    policies: Sequence[Any], requests: Sequence[list[Request]], rooms: Sequence[int]
) -> list[list[int]]:
    """Count for every policy and each of its requests how many experts were in memory.

    Args:
        policies: fresh ones, each with its own requests and room.
        requests: what is asked for, see `requests_of`.
        rooms: how many experts memory holds.
    """
    runs = [_run(*one) for one in zip(policies, requests, rooms, strict=True)]
    found: list[list[int]] = [[] for _ in runs]
    answers: dict[int, Any] = dict.fromkeys(range(len(runs)))
    while answers:
        asked = {}
        for i, answer in answers.items():
            try:
                asked[i] = runs[i].send(answer)
            except StopIteration as end:
                found[i] = end.value
        said = worths([policies[i] for i in asked], list(asked.values()))
        answers = dict(zip(asked, said, strict=True))
    return found


def _run(policy: Any, requests: Iterable[Request], room: int) -> _Run:
    """Send requests through a cache, and ask for worths where somebody must leave."""
    per_layer, use = policy.per_layer, policy.use
    layers = {layer for _, layer, _ in requests} if per_layer else {0}
    places = max(room // len(layers), 1)
    memory: dict[int, list[Key]] = {layer: [] for layer in layers}
    inside: set[Key] = set()
    found = []
    for step, layer, keys in requests:
        for key in keys:
            use(key, step)
        missing = [key for key in keys if key not in inside]
        found.append(len(keys) - len(missing))
        if not missing:
            continue
        inside.update(missing)
        here = memory[layer if per_layer else 0]  # in order: of equals the first one leaves
        *others, stays = missing
        for key in others:
            insort(here, key)
        n_over = len(here) + 1 - places
        if n_over > 0:
            if others:
                # The missing enter in the order of their worth: the last of them finds a place.
                insort(here, stays)
                worth = yield here
                at = max(map(here.index, reversed(missing)), key=worth.__getitem__)
                stays = here.pop(at)
                worth.pop(at)
            else:  # whoever enters alone finds one, whatever it is worth
                worth = yield here
            for _ in range(n_over):
                at = worth.index(min(worth))
                inside.remove(here.pop(at))
                worth.pop(at)
        insort(here, stays)
    return found
