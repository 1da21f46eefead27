"""Chapter 14, exercise 14.6: an open task, a policy that finds more than the usual ones."""

import random
from functools import cache
from typing import Any

import torch

from moe_teach.chapters.ch14_memory.asking import unwatched
from moe_teach.chapters.ch14_memory.recorded import loads
from moe_teach.chapters.ch14_memory.side_by_side import Request, found_in_memory, requests_of
from moe_teach.deploy.store.policies import Key
from moe_teach.deploy.store.trace import drawn
from moe_teach.judging.exercise import Exercise, Goal, require
from moe_teach.judging.reasons import Why

ROOM = 16  # a quarter of the shipped model's experts
N_LAYERS, N_EXPERTS = 4, 16

EXERCISE = Exercise(
    id="14.6",
    name="MyPolicy",
    title="Open task: a better policy",
    points=3,
    difficulty=4,
    importance=3,
    minutes=30,
    needs=("14.2",),
    changes_inputs=True,  # a policy has a memory
    limit=60,
    goal=Goal(
        quantity="requests found in memory",
        unit="%",
        baseline=40.31,
        target=49,
        more_is_better=True,
        limit="Who knows the future finds 66.73%; whether anybody else comes near, nobody knows.",
        cause="LRU forgets what is often needed, LFU never forgets what was, and most policies "
        "overlook that a token passes through the layers in their order.",
        cure="Frequency that halves every 16 to 32 steps is nearly there. Of two experts of equal "
        "score keep the one whose layer comes sooner.",
    ),
    hints=(
        "Draw the time from one use of an expert to its next. While layer 1 works, whose next use "
        "is nearer for certain, layer 2's or layer 0's?",
        "Start from your Forgetful, and remember in `use` the layer that is at work. In `worth` "
        "multiply the score by something that falls with the number of layers until this "
        "expert's layer is asked, (key.layer - now - 1) % n_layers.",
        "score = rest * 2 ** ((then - step) / 20), as in 14.2 without the logarithm (256 steps "
        "are short); ahead = (key.layer - self.layer - 1) % self.n_layers; worth = score * (1 - "
        "0.5 * ahead / self.n_layers); -1 for a key that was never used.",
    ),
    explanation="The course's policy is the forgetting one with a half-life of 20 steps, and a "
    "discount for layers that are far from being asked. It reaches 49.69 %: two thirds of what the "
    "future would allow are out of reach for everything tried here. Two half-lives at once "
    "reach 49.76 %. What is left are texts that do not say in time whom they will need; reading "
    "ahead asks the model itself and finds more than any policy.",
)

_CHANCE = Why("Chance is at work.", "Decide ties by a rule, for example by the expert's number.")
_LEFT = Why(
    "One run left something to the next, in the class or outside.",
    "Keep what is remembered on `self`, made anew in `__init__`.",
)


def _made(answer: Any) -> Any:
    return answer(N_LAYERS, N_EXPERTS)


def _found(answer: Any, requests: list[list[Request]]) -> list[list[int]]:
    """Count what policies of their own find, all side by side."""
    made = unwatched(answer)
    return found_in_memory([_made(made) for _ in requests], requests, [ROOM] * len(requests))


@cache
def _drawn(seed: int) -> list[Request]:
    return requests_of(drawn(40, N_LAYERS, N_EXPERTS, 2, skew=0.8, seed=seed))


@cache
def _loads(n: int) -> tuple[list[list[Request]], list[int]]:
    """Give the loads, and how many experts each of them wants."""
    requests = [requests_of(trace) for _, trace in loads(n)]
    return requests, [sum(len(keys) for _, _, keys in own) for own in requests]


@EXERCISE.stage("three names")
def _open_form(answer: Any, seed: int) -> None:
    policy = _made(answer)
    missing = [name for name in ("use", "worth", "per_layer") if not hasattr(policy, name)]
    require(not missing, f"The policy has no `{', '.join(missing)}`.")
    policy.use(Key(0, 3), 0)
    policy.use(Key(0, 5), 0)
    values = [policy.worth(Key(layer, e)) for layer in range(N_LAYERS) for e in range(N_EXPERTS)]
    try:
        sorted(values)
        is_ordered = all(value == value for value in values)
    except TypeError:
        is_ordered = False
    require(
        is_ordered,
        "What `worth` gives for different experts cannot be sorted.",
        cause="It gives numbers for some and tuples or None for others, or NaN.",
        cure="The same kind for every expert, the never used ones included.",
        got=values[:6],
    )


@EXERCISE.stage("the same again")
def _open_repeats(answer: Any, seed: int) -> None:
    requests = _drawn(seed)
    if _is_same(answer, requests, by_chance=False):
        return
    why = _CHANCE if _is_same(answer, requests, by_chance=True) else _LEFT
    require(False, "Two runs on the same trace find different numbers of experts.", **why._asdict())


def _is_same(answer: Any, requests: list[Request], *, by_chance: bool) -> bool:
    """Compare two runs, which draw the same lots if `by_chance`."""
    found, luck = [], random.getstate()
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            if by_chance:
                random.setstate(luck)
                torch.manual_seed(0)
            found += _found(answer, [requests])
    return found[0] == found[1]


@EXERCISE.stage("no future")
def _open_online(answer: Any, seed: int) -> None:
    requests = _drawn(seed)
    half = requests[: len(requests) // 2]
    found = _found(answer, [requests, half])
    require(
        found[0][: len(half)] == found[1],
        "What the policy does in the first half of a trace depends on the second.",
        cause="It looks at the trace itself, and in use there is no trace yet.",
        cure="Judge by what `use` has told so far.",
    )


@EXERCISE.goal.measure
def _open_found(answer: Any, seed: int) -> float:
    requests, n_wanted = _loads(seed % 3)
    found = map(sum, _found(answer, requests))
    rates = [own / wanted for own, wanted in zip(found, n_wanted, strict=True)]
    return 100 * sum(rates) / len(rates)
