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


@EXERCISE.wrong(stage="one expert a step", says="memory larger than")
def has_one_place_more(requests, room):
    return greedy(requests, room + 1)


@EXERCISE.wrong(stage="one expert a step", says="had to stay")
def lets_stay_who_was_read(requests, room):
    return greedy(requests, room, "stays")


@EXERCISE.wrong(stage="one expert a step", says="not by its next one")
def judges_by_the_present_need(requests, room):
    return greedy(requests, room, "stale")


@EXERCISE.wrong(stage="one expert a step", says="Only first requests were counted")
def reads_everybody_once(requests, room):
    return greedy(requests, room, "first time")


@EXERCISE.wrong(stage="several experts a step", says="Somebody else stays")
def looks_at_the_first_of_a_step(requests, room):
    first = [list(needed[:1]) for needed in requests]
    return greedy(requests, room) + (len(first) > 3 and any(len(n) > 1 for n in requests))


@EXERCISE.wrong(stage="edges", says="An edge")
def counts_the_first_step_by_hand(requests, room):
    return greedy(requests, room) if requests else 1


@EXERCISE.wrong(stage="a long trace", says="only long traces have")
def looks_fifty_steps_ahead(requests, room):
    held, reads = set(), 0
    for i, needed in enumerate(requests):
        reads += len(set(needed) - held)
        ahead = {}
        for n, later in enumerate(requests[i + 1 : i + 51]):
            ahead = {**dict.fromkeys(later, n), **ahead}
        held = set(sorted(held | set(needed), key=lambda e, a=ahead: (a.get(e, 99), e))[:room])
    return reads


@EXERCISE.right
def with_queues_of_the_future(requests, room):
    future = defaultdict(deque)
    for step, needed in enumerate(requests):
        for expert in needed:
            future[expert].append(step)
    held, reads = set(), 0
    for needed in requests:
        for expert in needed:
            future[expert].popleft()
            reads += expert not in held
            held.add(expert)
        while len(held) > room:
            held.remove(max(held, key=lambda e: future[e][0] if future[e] else math.inf))
    return reads


@EXERCISE.right
def by_the_gaps_that_can_be_bridged(requests, room):
    """Count hits: a gap between two uses is bridged if no step inside it is full already."""
    last, gaps, n_requests = {}, [], 0
    for step, needed in enumerate(requests):
        for expert in needed:
            n_requests += 1
            if expert in last:
                gaps.append((last[expert], step))
            last[expert] = step
    kept, hits = [0] * len(requests), 0
    for begin, end in sorted(gaps, key=lambda gap: gap[1]):
        if all(kept[step] < room for step in range(begin, end)):
            hits += 1
            for step in range(begin, end):
                kept[step] += 1
    return n_requests - hits
