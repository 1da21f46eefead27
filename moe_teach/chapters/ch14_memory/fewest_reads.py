"""Chapter 14, exercise 14.4: how few reads anybody could have needed who knew the future."""

import itertools
from collections.abc import Sequence
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
        "Belady (1966): throw out whoever is needed again last, or never. For one expert a step "
        "that is the whole answer. With several experts a step, ask also: in which order should "
        "the missing ones come in?",
        "Go backwards once and note for each request of an expert the step that needs it next "
        "(infinity: never). Going forwards, keep `due[expert]` up to date *before* you choose a "
        "victim. Whoever comes in last is sure to stay, so let the missing come in by their next "
        "need, the latest first.",
        "for i, needed in enumerate(requests): due |= {e: next_use[i][e] for e in needed}; missing "
        "= sorted(set(needed) - held, key=lambda e: -due[e]); for e in missing: reads += 1; if "
        "len(held) == room: held.remove(max(held, key=due.get)); held.add(e).",
    ),
    explanation="A bound tells what is left to win. Where LRU finds 40 in a hundred and the bound "
    "is 57, no cleverness finds 80: only more memory, smaller experts, other traffic or reading "
    "ahead can. The bound needs the future, so it is no policy; but its gap to a policy says "
    "whether to go on looking for a better one. Where experts differ in size (a hot one in eight "
    "bits, a cold one in four), the farthest one is no longer always the best victim, and finding "
    "the least becomes a hard problem.",
)


def least(requests: Requests, room: int) -> int:
    """Try everything: the least reads over all that memory may hold after each step."""
    states = {frozenset(): 0}
    for needed in requests:
        after: dict[frozenset, int] = {}
        for held, reads in states.items():
            missing = set(needed) - held
            for kept in _possible(held, missing, room):
                cost = reads + len(missing)
                if cost < after.get(kept, 10**9):
                    after[kept] = cost
        states = after
    return min(states.values())


def _possible(held: frozenset, missing: set[int], room: int) -> set[frozenset]:
    if not missing:
        return {held}
    everybody, found = held | missing, set()
    for size in range(1, min(room, len(everybody)) + 1):
        for kept in itertools.combinations(sorted(everybody), size):
            if missing & set(kept):  # who came in last is there
                found.add(frozenset(kept))
    return found


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
    """Throw out the farthest; `slip` names what is done otherwise."""
    held: set[int] = set()
    due: dict[int, float] = {}
    last: dict[int, float] = {}
    reads = 0
    for i, needs in enumerate(next_needs(requests, -1.0 if slip == "never" else float("inf"))):
        before = due
        due = due | needs
        last |= dict.fromkeys(needs, -float(i))
        judged = {"LRU": last, "stale": due | before}.get(slip, due)
        missing = [expert for expert in needs if expert not in held]
        if slip != "order":
            missing.sort(key=due.__getitem__, reverse=slip != "order turned")
        if slip == "first time":
            missing = [expert for expert in missing if expert not in before]
        for expert in missing:
            reads += 1
            if len(held) >= room:
                held.remove(max(sorted(held), key=judged.__getitem__))
            held.add(expert)
    return reads


_SLIPS = {
    "LRU": Why("That is what LRU reads: whoever was not used for longest went.",
               "Look forward instead: whoever is needed again last goes."),
    "never": Why("An expert that is never needed again must go first, and here it goes last.",
                 "Let its next need be infinity."),
    "order": Why("The missing came in as they were listed. Whoever comes last is sure to stay, "
                 "and should be the one that is needed soonest.",
                 "Sort the missing by their next need, the latest first."),
    "order turned": Why("The missing came in with the soonest needed first; then it may be thrown "
                        "out for one that is needed later.",
                        "The latest needed first, so that the soonest comes in last and stays."),
    "stale": Why("An expert that is used in this step was judged by this need, not by its next "
                 "one.", "Bring `due` up to date before you choose a victim."),
    "first time": Why("Only first requests were counted. Whoever was thrown out is read again.",
                      "Count a read whenever an expert is not in memory."),
}  # fmt: skip


def _demand_least(answer: Any, requests: list[list[int]], room: int, right: int) -> None:
    example = {"requests": requests[:20], "room": room}
    got = answer(requests, room)
    require(
        type(got) is int,
        "The number of reads is a plain integer.",
        got=got,
        example=example,
    )
    found = (name for name in _SLIPS if got == greedy(requests, room, name) != right)
    why = _SLIPS.get(next(found, ""), Why("Another victim, or another order.", ""))
    if got < right:
        why = Why(
            "Nobody can do with fewer. Were some requests not counted, or was memory larger than "
            "`room`?",
            "A read for every expert that is not in memory when its step asks.",
        )
    require(
        got == right,
        "This is not the least number of reads.",
        **why._asdict(),
        expected=right,
        got=got,
        example=example,
    )


@EXERCISE.stage("one expert a step")
def _least_single(answer: Any, seed: int) -> None:
    for room in (1, 2, 3):
        for draw in range(4):
            requests = some_requests(100 * seed + draw, 14, 5, 1)
            _demand_least(answer, requests, room, least(requests, room))


@EXERCISE.stage("several experts a step")
def _least_several(answer: Any, seed: int) -> None:
    for room in (3, 4):
        for draw in range(6):
            requests = some_requests(100 * seed + draw, 12, 6, 3)
            _demand_least(answer, requests, room, least(requests, room))


@EXERCISE.stage("more than there is room for")
def _least_crowded(answer: Any, seed: int) -> None:
    for room in (1, 2):
        for draw in range(8):
            requests = some_requests(100 * seed + draw, 10, 5, 4)
            _demand_least(answer, requests, room, least(requests, room))


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


@EXERCISE.stage("a long trace")
def _least_long(answer: Any, seed: int) -> None:
    requests = some_requests(seed, 1500, 64, 3)
    right = greedy(requests, 16)
    got = answer(requests, 16)
    require(
        got == right,
        "On 1,500 steps of 64 experts it is another number.",
        cause="Something that only long traces have: many experts that are never needed again, or "
        "a next need that is far away.",
        expected=Words(f"{right:,} reads"),
        got=Words(f"{got}"),
    )
