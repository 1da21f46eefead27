"""The books of a cache: who is here, who enters, who leaves, and what a guess may do."""

import pytest

from moe_teach.deploy.store.cache import Entry, ExpertCache
from moe_teach.deploy.store.policies import LRU, Key

SIZES = {Key(layer, expert): 10 for layer in range(3) for expert in range(4)}
A, B, C, D = (Key(0, expert) for expert in range(4))


def cache_of(n_experts: int, **more: bool) -> ExpertCache:
    return ExpertCache(LRU(**more), 10 * n_experts + 9, SIZES)


def test_those_in_memory_serve_first_and_are_not_thrown_out_before_their_turn():
    cache = cache_of(2)
    cache.ask(0, [0, 1], 0)
    answer = cache.ask(0, [0, 2], 1)
    assert answer.here == (A,)
    assert answer.entries == (Entry(C, (B,)),)


def test_with_room_for_one_each_leaves_as_soon_as_it_has_served():
    cache = cache_of(1)
    answer = cache.ask(0, [0, 1, 2], 0)
    assert answer.entries == (Entry(A, ()), Entry(B, (A,)), Entry(C, (B,)))
    assert cache.residents == {C}


def test_several_small_ones_leave_for_a_large_one():
    sizes = {A: 1, B: 1, C: 2, D: 4}
    cache = ExpertCache(LRU(), 4, sizes)
    cache.ask(0, [0, 1, 2], 0)
    assert cache.ask(0, [3], 1).entries == (Entry(D, (A, B, C)),)
    assert cache.resident_bytes == 4


def test_nobody_leaves_who_need_not():
    cache = ExpertCache(LRU(), 5, {A: 1, B: 3, C: 2})
    cache.ask(0, [0, 1], 0)
    # The oldest alone does not make room; the next one does, and it alone would have.
    assert cache.ask(0, [2], 1).entries[0].left == (A,)


def test_a_layer_keeps_to_its_own_share():
    cache = cache_of(3, per_layer=True)
    cache.ask(0, [0], 0)
    cache.ask(1, [0], 0)
    assert cache.ask(0, [1], 1).entries == (Entry(B, (A,)),)
    assert cache.residents == {B, Key(1, 0)}


@pytest.mark.parametrize(
    ("budget", "per_layer", "sentence"),
    [
        (9, False, "The budget is 9 bytes, but an expert takes 10: give at least 10."),
        (29, True, r"29 bytes \(9 for each of 3 layers\), but an expert takes 10: .* least 30."),
        (0, False, "The budget is 0 bytes"),
    ],
)
def test_a_budget_below_one_expert_is_refused_in_a_sentence(budget, per_layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        ExpertCache(LRU(per_layer=per_layer), budget, SIZES)


def test_a_guess_that_comes_true_is_found_in_memory():
    cache = cache_of(3)
    assert cache.foresee(1, [2, 3], ()) == [Entry(Key(1, 2), ()), Entry(Key(1, 3), ())]
    answer = cache.ask(1, [2], 0)
    assert answer.foreseen == answer.here == (Key(1, 2),)
    assert cache.ask(1, [2], 1).foreseen == ()  # by then it is in memory for having been used


def test_who_was_in_memory_anyway_was_not_foreseen():
    cache = cache_of(3)
    cache.ask(1, [0], 0)
    assert cache.foresee(1, [0], ()) == []
    assert cache.ask(1, [0], 1).foreseen == ()


def test_a_guess_throws_out_nobody_who_serves_and_no_other_guess():
    cache = cache_of(2)
    cache.ask(0, [0], 0)
    cache.foresee(1, [0], keep=[A])
    assert cache.foresee(1, [1], keep=[A]) == []
    assert cache.residents == {A, Key(1, 0)}


def test_a_guess_keeps_who_is_in_memory_until_the_layer_has_asked():
    cache = cache_of(2)
    cache.ask(1, [0], 0)
    cache.ask(0, [0], 0)
    cache.foresee(1, [0], keep=[A])
    cache.ask(0, [1], 1)  # LRU alone would throw out the older one, of layer 1
    assert cache.residents == {B, Key(1, 0)}
    cache.ask(1, [0], 1)
    cache.ask(0, [2, 3], 2)
    assert cache.residents == {C, D}


def test_what_is_wanted_now_comes_before_what_was_guessed():
    cache = cache_of(1)
    cache.foresee(1, [0], ())
    assert cache.ask(0, [0], 0).entries == (Entry(A, (Key(1, 0),)),)
    assert cache.ask(1, [0], 0).here == ()


def test_an_unused_guess_is_the_first_to_leave():
    cache = cache_of(2)
    cache.foresee(1, [0], ())
    cache.ask(1, [1], 0)
    assert cache.ask(1, [2], 1).entries == (Entry(Key(1, 2), (Key(1, 0),)),)


def test_who_could_not_be_brought_in_is_forgotten():
    cache = cache_of(2)
    cache.ask(0, [0], 0)
    cache.forget(A)
    cache.forget(A)
    assert cache.resident_bytes == 0
    assert cache.ask(0, [0], 1).entries == (Entry(A, ()),)
