"""Chapter 14, exercise 14.4: how few reads anybody could have needed who knew the future."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.reasons import Why

Requests = Sequence[Sequence[int]]

EXERCISE = Exercise(
    id="14.4",
    name="fewest_reads",
    title="A bound for every policy",
    points=2,
    difficulty=4,
    importance=3,
    minutes=20,
    limit=20,
    hints=(
        "Belady (1966): whoever is needed again last is worth least. After a step, who of all that "
        "were in memory or have just been read should stay?",
        "Go backwards once and note for each request of an expert the step that needs it next "
        "(infinity: never). Going forwards, keep `due[expert]` up to date: after a step, the need "
        "that counts is the *next* one.",
        "for needed, following in zip(requests, next_use): reads += len(set(needed) - held); due "
        "|= following; held = set(sorted(held | set(needed), key=due.get)[:room]).",
    ),
    explanation="A bound tells what is left to win. Where LRU finds 40 in a hundred and the bound "
    "is 60, no cleverness finds 80: only more memory, smaller experts, other traffic or reading "
    "ahead can. The bound needs the future, so it is no policy; but its gap to a policy says "
    "whether to go on looking for a better one. The place to work in matters: without it whoever "
    "is read has to stay, and then even somebody who throws out the farthest may err where two are "
    "needed again in the same step. And where experts differ in size, a hot one in eight bits and "
    "a cold one in four, finding the least becomes a hard problem.",
)


def least(requests: Requests, room: int) -> int:
    """Try everything: the least reads over all that memory may hold after each step."""
    states: dict[frozenset[int], int] = {frozenset(): 0}
    for needed in requests:
        after: dict[frozenset[int], int] = {}
        for held, reads in states.items():
            there, cost = held | set(needed), reads + len(set(needed) - held)
            for kept in itertools.combinations(sorted(there), min(room, len(there))):
                after[frozenset(kept)] = min(cost, after.get(frozenset(kept), 10**9))
        states = after
    return min(states.values())


def some_requests(seed: int, n_steps: int, n_experts: int, most: int) -> list[list[int]]:
    """Draw requests: 1 to `most` experts a step, each once, some liked more than others."""
    random = generator(seed)
    liking = torch.rand(n_experts, generator=random) ** 2 + 0.05
    counts = torch.randint(1, most + 1, (n_steps,), generator=random).tolist()
    return [liking.multinomial(count, generator=random).tolist() for count in counts]


def next_needs(requests: Requests, never: float = float("inf")) -> list[dict[int, float]]:
    """Give for each step and each of its experts the step that needs it next."""
    coming: dict[int, float] = {}
    found: list[dict[int, float]] = []
    for step in range(len(requests) - 1, -1, -1):
        found.append({expert: coming.get(expert, never) for expert in requests[step]})
        coming |= dict.fromkeys(requests[step], float(step))
    return found[::-1]


def greedy(requests: Requests, room: int, slip: str = "") -> int:
    """Keep those that are needed soonest; `slip` names what is done otherwise."""
    held: set[int] = set()
    due: dict[int, float] = {}
    last: dict[int, float] = {}
    known: set[int] = set()
    reads = 0
    for i, needs in enumerate(next_needs(requests, -1.0 if slip == "never" else float("inf"))):
        missing = set(needs) - (known if slip == "first time" else held)
        known |= set(needs)
        reads += len(missing)
        before = due
        due = due | needs
        last |= dict.fromkeys(needs, -float(i))
        judged = {"LRU": last, "stale": due | before}.get(slip, due)
        stays = missing if slip == "stays" else set()
        order = sorted(held | set(needs), key=lambda e: (e not in stays, judged[e], e))
        held = set(order[:room])
    return reads


_SLIPS = {
    "LRU": Why("That is what LRU reads: whoever was not used for longest went.",
               "Look forward instead: whoever is needed again last goes."),
    "never": Why("An expert that is never needed again must go first, and here it goes last.",
                 "Let its next need be infinity."),
    "stays": Why("Those that were just read had to stay. They have worked already, and may be "
                 "worth less than all the others.",
                 "Choose among all that were in memory or have just been read."),
    "stale": Why("An expert that is used in this step was judged by this need, not by its next "
                 "one.", "Bring `due` up to date before you choose who stays."),
    "first time": Why("Only first requests were counted. Whoever was thrown out is read again.",
                      "Count a read whenever an expert is not in memory."),
}  # fmt: skip


_ELSE = Why("Somebody else stays than those who are needed soonest.", "Sort by the next need.")
_FEWER = Why(
    "Nobody can do with fewer. Were some requests not counted, or was memory larger than `room`?",
    "A read for every expert that is not in memory when its step asks.",
)


def _demand_least(answer: Any, cases: list[tuple[list[list[int]], int]]) -> None:
    """Ask for all cases, and name the one mistake that explains every answer, if there is one."""
    answers = [(requests, room, answer(requests, room)) for requests, room in cases]
    for requests, room, got in answers:
        example = {"requests": requests, "room": room}
        require(
            type(got) is int,
            "The number of reads is a plain integer.",
            got=got,
            example=example,
        )
        right = least(requests, room)
        explains = (
            why
            for slip, why in _SLIPS.items()
            if all(n == greedy(r, m, slip) for r, m, n in answers)
        )
        why = next(explains, _FEWER if got < right else _ELSE) if got != right else _ELSE
        require(
            got == right,
            "This is not the least number of reads.",
            **why._asdict(),
            expected=right,
            got=got,
            example=example,
        )


def _drawn(seed: int, n_draws: int, most: int, rooms: tuple[int, ...]) -> list[Any]:
    n_steps, n_experts = 12, 5 if most == 1 else 6  # as many as are printed
    draws = range(100 * seed, 100 * seed + n_draws)
    drawn = [some_requests(d, n_steps, n_experts, most) for d in draws]
    return [([list(step) for step in requests], room) for room in rooms for requests in drawn]


@EXERCISE.stage("one expert a step")
def _least_single(answer: Any, seed: int) -> None:
    _demand_least(answer, [([[1], [2], [1]], 1), *_drawn(seed, 4, 1, (1, 2, 3))])


@EXERCISE.stage("several experts a step")
def _least_several(answer: Any, seed: int) -> None:
    _demand_least(answer, [([[0, 1], [2, 3], [1, 0]], 2), *_drawn(seed, 6, 3, (3, 4))])


@EXERCISE.stage("more than there is room for")
def _least_crowded(answer: Any, seed: int) -> None:
    _demand_least(answer, _drawn(seed, 8, 4, (1, 2)))


@EXERCISE.stage("edges")
def _least_edges(answer: Any, seed: int) -> None:
    for requests, room, right in (
        ([], 3, 0),
        ([[4]], 1, 1),
        ([[0, 1], [0, 1], [0, 1]], 9, 2),
        ([[], [2], [], [2]], 1, 1),
    ):
        got = answer([list(step) for step in requests], room)
        require(
            got == right,
            "An edge: no steps, steps that need nobody, or room for everybody.",
            cause="Something is taken of a list that is empty here.",
            expected=right,
            got=got,
            example={"requests": requests, "room": room},
        )


@cache
def _long(seed: int) -> tuple[Requests, int]:
    requests = some_requests(seed, 400, 64, 3)
    return requests, greedy(requests, 48)


@EXERCISE.stage("a long trace")
def _least_long(answer: Any, seed: int) -> None:
    requests, right = _long(seed)
    got = answer([list(step) for step in requests], 48)
    require(
        got == right,
        "On 400 steps of 64 experts it is another number.",
        cause="Something that only long traces have: many experts that are never needed again, or "
        "a next need that is far away.",
        expected=Words(f"{right:,} reads"),
        got=Words(f"{got}"),
    )
