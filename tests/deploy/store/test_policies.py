"""Policies against their definitions, the optimum against exhaustive search."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_teach.deploy.store.cache import ExpertCache
from moe_teach.deploy.store.policies import (
    LFRU,
    LFU,
    LRU,
    Key,
    Optimum,
    Pinned,
    Policy,
    hottest,
)
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import Trace, drawn

ONLINE: dict[str, Callable[..., Policy]] = {
    "LRU": LRU,
    "LFU": LFU,
    "LFRU": lambda **more: LFRU(3.0, **more),
    "pinned": lambda **more: Pinned([Key(0, 1)], **more),
}


def trace_of(*tokens: tuple[int, ...], n_experts: int = 5) -> Trace:
    """One layer, one token a step."""
    ids = torch.tensor(tokens).unsqueeze(1)
    nothing = torch.full((len(tokens),), -1)
    return Trace(ids, torch.arange(len(tokens)), nothing, n_experts)


@st.composite
def traces(draw: st.DrawFn, longest: int = 7, layers: int = 2) -> Trace:
    n_experts = draw(st.integers(1, 4))
    top_k = draw(st.integers(1, min(2, n_experts)))
    n_layers, n_tokens = draw(st.integers(1, layers)), draw(st.integers(1, longest))
    one = st.lists(st.integers(0, n_experts - 1), min_size=top_k, max_size=top_k, unique=True)
    flat = draw(st.lists(one, min_size=n_tokens * n_layers, max_size=n_tokens * n_layers))
    step = sorted(draw(st.lists(st.integers(0, 3), min_size=n_tokens, max_size=n_tokens)))
    ids = torch.tensor(flat).view(n_tokens, n_layers, top_k)
    return Trace(ids, torch.tensor(step), torch.full((n_tokens,), -1), n_experts)


def misses(trace: Trace, policy: Policy, room: int) -> int:
    return int(simulate(trace, policy, room, 1).misses.sum())


def fewest_misses(trace: Trace, room: int) -> int:
    """Try every order within a request and everyone who could leave."""
    requests = [frozenset((layer, e) for e in experts) for _, layer, experts in trace.requests()]

    def after(here: frozenset, order: tuple) -> Iterator[tuple[int, frozenset]]:
        if not order:
            yield 0, here
            return
        first, *rest = order
        if first in here:
            yield from after(here, tuple(rest))
            return
        leaving = [None] if len(here) < room else list(here)
        for victim in leaving:
            for cost, state in after((here - {victim}) | {first}, tuple(rest)):
                yield cost + 1, state

    @cache
    def best(number: int, here: frozenset) -> int:
        if number == len(requests):
            return 0
        ends = {end for order in permutations(requests[number]) for end in after(here, order)}
        return min(cost + best(number + 1, state) for cost, state in ends)

    return best(0, frozenset())


def largest_request(trace: Trace) -> int:
    return max(len(experts) for _, _, experts in trace.requests())


@settings(max_examples=60, deadline=None)
@given(traces(), st.integers(0, 3))
def test_the_optimum_misses_as_little_as_the_best_of_all_possible_ways(trace, more):
    room = largest_request(trace) + more
    assert misses(trace, Optimum(trace), room) == fewest_misses(trace, room)


@settings(max_examples=25, deadline=None)
@given(traces(longest=20), st.integers(0, 3), st.booleans())
def test_no_policy_misses_less_than_the_optimum(trace, more, per_layer):
    room = largest_request(trace) + more
    room *= trace.n_layers if per_layer else 1
    best = misses(trace, Optimum(trace, per_layer=per_layer), room)
    for policy in ONLINE.values():
        assert misses(trace, policy(per_layer=per_layer), room) >= best


@settings(max_examples=20, deadline=None)
@given(traces(longest=20))
def test_a_larger_lru_cache_holds_all_that_a_smaller_one_holds(trace):
    rooms = range(largest_request(trace), largest_request(trace) + 4)
    sizes = {Key(layer, e): 1 for layer in range(2) for e in range(4)}
    caches = [ExpertCache(LRU(), room, sizes) for room in rooms]
    for step, layer, experts in trace.requests():
        for cached in caches:
            cached.ask(layer, experts, step)
        held = [cached.residents for cached in caches]
        assert all(small <= large for small, large in pairwise(held))


@settings(max_examples=20, deadline=None)
@given(traces(longest=20, layers=1), st.integers(1, 4))
def test_lru_holds_those_who_were_used_last(trace, room):
    if trace.expert_ids.shape[2] > 1:
        trace = Trace(trace.expert_ids[..., :1], trace.step, trace.token_ids, trace.n_experts)
    sizes = {Key(0, e): 1 for e in range(4)}
    cached, used = ExpertCache(LRU(), room, sizes), []
    for step, experts in enumerate(trace.expert_ids[:, 0].tolist()):
        cached.ask(0, experts, step)
        used = [e for e in used if e not in experts] + experts
        assert cached.residents == {Key(0, e) for e in used[-room:]}


@settings(max_examples=25, deadline=None)
@given(traces(longest=20), st.data())
def test_the_budget_is_never_exceeded_whatever_the_sizes(trace, data):
    keys = [Key(layer, e) for layer in range(trace.n_layers) for e in range(trace.n_experts)]
    sizes = {key: data.draw(st.integers(1, 9)) for key in keys}
    budget = data.draw(st.integers(max(sizes.values()), 30))
    for make in (*ONLINE.values(), lambda: Optimum(trace)):
        replay = simulate(trace, make(), budget, sizes)
        assert int(replay.resident_bytes.max()) <= budget
        asked = sum(len(experts) for *_, experts in trace.requests())
        assert replay.n_requests == asked


def test_lfu_keeps_the_frequent_and_lru_the_recent():
    trace = trace_of((0,), (0,), (1,), (2,), (0,), (1,))
    # Room for two: LRU throws 0 out for 2, LFU throws 1 out.
    assert simulate(trace, LRU(), 2, 1).hits.flatten().tolist() == [0, 1, 0, 0, 0, 0]
    assert simulate(trace, LFU(), 2, 1).hits.flatten().tolist() == [0, 1, 0, 0, 1, 0]


def test_equal_counts_are_told_apart_by_recency():
    trace = trace_of((0,), (1,), (2,), (1,))
    assert simulate(trace, LFU(), 2, 1).hits.flatten().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_lfru_is_lru_with_a_short_memory_and_counts_with_an_endless_one(seed):
    trace = drawn(200, 1, 8, 1, skew=0.7, seed=seed)
    assert misses(trace, LFRU(0.01), 3) == misses(trace, LRU(), 3)
    endless, counts = LFRU(1e9), {}
    for step, layer, (expert,) in trace.requests():
        endless.use(Key(layer, expert), step)
        counts[expert] = counts.get(expert, 0) + 1
    for expert, count in counts.items():
        assert endless.worth(Key(0, expert)) == pytest.approx(torch.tensor(count).log2().item())


def test_a_score_of_lfru_is_the_sum_of_its_decayed_uses():
    policy = LFRU(half_life=4.0)
    for step in (0, 3, 3, 900):
        policy.use(Key(0, 0), step)
    # At step 900, in float64 by the definition.
    expected = sum(2.0 ** ((step - 900) / 4.0) for step in (0, 3, 3, 900))
    assert 2.0 ** (policy.worth(Key(0, 0)) - 900 / 4.0) == pytest.approx(expected)


def test_the_pinned_stay_and_the_others_take_turns():
    trace = trace_of((0,), (1,), (2,), (3,), (0,), (3,), (2,))
    replay = simulate(trace, Pinned([Key(0, 0)]), 2, 1)
    assert replay.hits.flatten().tolist() == [0, 0, 0, 0, 1, 1, 0]


def test_more_pinned_than_fit_take_turns_among_themselves():
    trace = trace_of((0,), (1,), (0,), (1,))
    assert misses(trace, Pinned([Key(0, 0), Key(0, 1)]), 1) == 4
    assert misses(trace, Pinned([Key(0, 0), Key(0, 1)]), 2) == 2


def test_the_hottest_are_found_layer_by_layer():
    ids = torch.tensor([[[0], [2]], [[0], [2]], [[1], [0]]])
    trace = Trace(ids, torch.arange(3), torch.full((3,), -1), 3)
    assert hottest(trace, 1) == (Key(0, 0), Key(1, 2))
    assert set(hottest(trace, 2)) == {Key(0, 0), Key(0, 1), Key(1, 2), Key(1, 0)}
    assert hottest(trace, 0) == ()
    with pytest.raises(ValueError, match="4 cannot be pinned"):
        hottest(trace, 4)


def test_one_budget_for_all_layers_is_worthless_to_lru_where_a_step_does_not_fit():
    # Every step walks through 3 layers x 1 expert: the oldest is always the one wanted next.
    ids = torch.zeros(20, 3, 1, dtype=torch.long)
    trace = Trace(ids, torch.arange(20), torch.full((20,), -1), 2)
    assert simulate(trace, LRU(), 2, 1).hit_rate == 0.0
    assert misses(trace, Optimum(trace), 2) < 60
    assert simulate(trace, LRU(per_layer=True), 3, 1).hit_rate == 57 / 60


def test_a_half_life_is_positive(as_a_user):
    with pytest.raises(ValueError, match="half_life must be a positive"):
        LFRU(0)


def test_a_policy_says_what_it_is():
    assert str(LRU(per_layer=True)) == "LRU per layer"
    assert str(LFRU(8)) == "LFRU, half-life 8"
