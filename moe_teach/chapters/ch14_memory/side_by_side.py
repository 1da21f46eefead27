"""Caches of experts of one size, side by side: what `simulate` finds, with fewer questions.

A policy is asked when somebody must leave, about all who may, and all policies at once: in another
process each message costs as much as hundreds of answers.
"""

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
    layers = {layer for _, layer, _ in requests}
    places = room // len(layers) if policy.per_layer else room
    memory: dict[int, set[Key]] = {layer: set() for layer in (layers if policy.per_layer else {0})}
    found = []
    for step, layer, keys in requests:
        for key in keys:
            policy.use(key, step)
        here = memory[layer if policy.per_layer else 0]
        missing = [key for key in keys if key not in here]
        found.append(len(keys) - len(missing))
        here.update(missing)
        n_over = len(here) - places
        if n_over > 0:
            ranked = sorted(zip((yield list(here)), list(here), strict=True))
            # The missing enter in the order of their worth: the last of them finds a place.
            ranked.remove(max(one for one in ranked if one[1] in missing))
            here.difference_update(key for _, key in ranked[:n_over])
    return found
