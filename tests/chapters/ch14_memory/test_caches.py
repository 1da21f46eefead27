"""What the exercises of chapter 14 are judged by: logs with one mistake, bounds, simulations."""

from collections import Counter

import pytest
import torch

from moe_teach.chapters.ch14_memory.asking import unwatched, worths
from moe_teach.chapters.ch14_memory.cache_logs import FAULTS, first_fault, log_of
from moe_teach.chapters.ch14_memory.fewest_reads import greedy, least, some_requests
from moe_teach.chapters.ch14_memory.halves import Exact
from moe_teach.chapters.ch14_memory.inputs import small_model, some_trace
from moe_teach.chapters.ch14_memory.recorded import loads
from moe_teach.chapters.ch14_memory.side_by_side import found_in_memory, requests_of
from moe_teach.deploy.store.policies import LFRU, LFU, LRU, Key
from moe_teach.deploy.store.simulator import simulate

RULES = dict(zip(FAULTS, ("count", "count", "in use", "room", "half-loaded"), strict=True))


def test_a_cache_without_a_mistake_breaks_no_rule() -> None:
    assert all(first_fault(*log_of("", seed)) is None for seed in range(30))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_breaks_its_own_rule_and_no_other_first(fault: str) -> None:
    found = Counter((first_fault(*log_of(fault, seed)) or (0, "none"))[1] for seed in range(30))

    assert set(found) <= {RULES[fault], "none"} and found[RULES[fault]] >= 24


def test_keeping_the_soonest_is_the_best_that_can_be_done() -> None:
    for seed in range(40):
        requests = some_requests(seed, n_steps=10, n_experts=5, most=3)
        for room in (1, 2, 3):
            assert greedy(requests, room) == least(requests, room)


def test_the_slow_policy_counts_halves_as_it_is_defined() -> None:
    policy = Exact(half_life=4.0)
    for step in (0, 4, 8):
        policy.use("a", step)

    assert 2 ** policy.worth("a") == pytest.approx(1 + 1 / 2 + 1 / 4)
    assert policy.worth("b") == float("-inf")


def test_the_small_model_answers_from_disk_as_from_memory() -> None:
    plain, through, hits, simulated = small_model(lambda: Exact(3.0))

    assert torch.equal(plain, through)
    assert 0 < hits == simulated


def test_a_policy_freed_of_what_watches_it_is_still_its_class() -> None:
    class Watched:
        per_layer = True

        def __init__(self, n):
            self.n = n

        def use(self, key, step):
            self.n += 1

        def worth(self, key):
            return self.n

    free = unwatched(Watched)(3)
    free.use("a", 0)

    assert free.worth("a") == 4 and free.per_layer
    assert unwatched(free) is free


POLICIES = (LRU, LFU, lambda: LFRU(3), lambda: LRU(per_layer=True), lambda: Exact(3.0))


@pytest.mark.parametrize("make", POLICIES)
def test_caches_side_by_side_find_what_the_simulator_finds(make) -> None:
    recorded = [trace.first(60) for _, trace in loads(1)]
    traces = [some_trace(seed, n_tokens=40) for seed in range(3)] + recorded
    rooms = [3, 5, 9] + [16] * len(recorded)

    found = found_in_memory([make() for _ in traces], list(map(requests_of, traces)), rooms)

    for trace, room, own in zip(traces, rooms, found, strict=True):
        assert own == simulate(trace, make(), room, 1).hits.flatten().tolist()


class Alike(LRU):
    """All experts are worth the same, and what is asked is written down."""

    def __init__(self, *, per_layer=False):
        super().__init__(per_layer=per_layer)
        self.asked = []

    def worth(self, key):
        self.asked.append(key)
        return 1


@pytest.mark.parametrize("per_layer", [False, True])
def test_of_equals_the_first_leaves_as_in_the_simulator(per_layer) -> None:
    trace = some_trace(5, n_tokens=60)

    (found,) = found_in_memory([Alike(per_layer=per_layer)], [requests_of(trace)], [7])

    assert found == simulate(trace, Alike(per_layer=per_layer), 7, 1).hits.flatten().tolist()


def test_with_fewer_places_than_layers_each_layer_keeps_one_expert() -> None:
    requests = requests_of(some_trace(0, n_tokens=40))

    narrow, just = found_in_memory([LRU(per_layer=True) for _ in "ab"], [requests] * 2, [2, 3])

    assert narrow == just and sum(just) > 0


def test_who_enters_alone_is_not_asked_about() -> None:
    one, two, three = (Key(0, expert) for expert in range(3))
    policy = Alike()

    found = found_in_memory([policy], [[(0, 0, [one, two]), (1, 0, [three]), (2, 0, [two])]], [2])

    assert found == [[0, 0, 1]] and policy.asked == [one, two]


@pytest.mark.parametrize("said", [[[1.0]], [[1.0, 2.0, 3.0]], []])
def test_another_process_must_answer_for_each_expert(said) -> None:
    class Far(LRU):
        def elsewhere_together(self, *_):
            return said

    policy = unwatched(Far)()

    with pytest.raises(ValueError, match="zip"):
        worths([policy], [[Key(0, 0), Key(0, 1)]])
