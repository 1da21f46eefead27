"""Exercise 14.4: wrong answers with what they must be told, and other right ones."""

import math
from collections import defaultdict, deque

from moe_teach.chapters.ch14_memory.fewest_reads import EXERCISE, greedy


@EXERCISE.wrong(stage="one expert a step", says="That is what LRU reads")
def least_recently_used(requests, room):
    return greedy(requests, room, "LRU")


@EXERCISE.wrong(stage="one expert a step", says="must go first, and here it goes last")
def keeps_who_is_never_needed(requests, room):
    return greedy(requests, room, "never")


@EXERCISE.wrong(stage="one expert a step", says="is a plain integer")
def returns_the_share(requests, room):
    return greedy(requests, room) / max(1, sum(map(len, requests)))


@EXERCISE.wrong(stage="one expert a step", says="Nobody can do with fewer")
def counts_different_experts(requests, room):
    return len({e for needed in requests for e in needed})


@EXERCISE.wrong(stage="one expert a step", says="memory larger than")
def has_one_place_more(requests, room):
    return greedy(requests, room + 1)


@EXERCISE.wrong(stage="several experts a step", says="as they were listed")
def lets_them_in_as_they_come(requests, room):
    return greedy(requests, room, "order")


@EXERCISE.wrong(stage="several experts a step", says="with the soonest needed first")
def lets_the_soonest_in_first(requests, room):
    return greedy(requests, room, "order turned")


@EXERCISE.wrong(stage="several experts a step", says="not by its next one")
def judges_by_the_present_need(requests, room):
    return greedy(requests, room, "stale")


@EXERCISE.wrong(stage="edges", says="An edge")
def counts_the_first_step_by_hand(requests, room):
    return greedy(requests, room) if requests else 1


@EXERCISE.wrong(stage="a long trace", says="only long traces have")
def looks_fifty_steps_ahead(requests, room):
    held, reads = set(), 0
    for i, needed in enumerate(requests):

        def far(e, i=i):
            ahead = requests[i + 1 : i + 51]
            return next((n for n, later in enumerate(ahead) if e in later), math.inf)

        for e in sorted((e for e in set(needed) - held), key=far, reverse=True):
            reads += 1
            if len(held) >= room:
                held.remove(max(sorted(held), key=far))
            held.add(e)
    return reads


@EXERCISE.right
def with_queues_of_the_future(requests, room):
    future = defaultdict(deque)
    for step, needed in enumerate(requests):
        for expert in needed:
            future[expert].append(step)
    held, reads = set(), 0

    def far(expert):
        return future[expert][0] if future[expert] else math.inf

    for needed in requests:
        for expert in needed:
            future[expert].popleft()
        for expert in sorted(set(needed) - held, key=far, reverse=True):
            if len(held) == room:
                held.discard(max(held, key=far))
            held.add(expert)
            reads += 1
    return reads


@EXERCISE.right
def looks_ahead_every_time(requests, room):
    places, held, reads = defaultdict(list), set(), 0
    for step, needed in enumerate(requests):
        for expert in needed:
            places[expert].append(step)
    for step, needed in enumerate(requests):
        far = {
            expert: next((later for later in own if later > step), len(requests))
            for expert, own in places.items()
        }
        coming = set(needed) - held
        reads += len(coming)
        stays = min(coming, key=far.get, default=None)
        by_need = sorted((held | coming) - {stays}, key=far.get)
        if coming:
            held = {stays, *by_need[: room - 1]}
    return reads
