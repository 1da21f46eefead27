"""Exercise 7.1: wrong answers with what they must be told, and other right ones."""

import math

from moe_teach.chapters.ch07_modern_moe.equal_flop_config import EXERCISE


def _design(n_experts, top_k, d_ff, split, n_shared):
    if d_ff % split or top_k * split - n_shared < 1:
        raise ValueError("impossible")
    return n_experts * split - n_shared, top_k * split - n_shared, d_ff // split


@EXERCISE.wrong(stage="form", says="makes floats even where it comes out even")
def divides_with_a_slash(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, _ = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, d_ff / split, math.comb(n, k)


@EXERCISE.wrong(stage="the pool", says="still stand in the pool")
def leaves_the_shared_in_the_pool(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n + n_shared, k, width, math.comb(n + n_shared, k)


@EXERCISE.wrong(stage="the places", says="gets less work than before")
def forgets_to_choose_more(n_experts, top_k, d_ff, split, n_shared=0):
    n, _, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, top_k, width, math.comb(n, top_k)


@EXERCISE.wrong(stage="the places", says="uses one of the places")
def adds_the_shared_on_top(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k + n_shared, width, math.comb(n, k + n_shared)


@EXERCISE.wrong(stage="the width", says="the layer grows or shrinks")
def keeps_the_width(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, _ = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, d_ff, math.comb(n, k)


@EXERCISE.wrong(stage="the routes", says="counts ordered lists")
def counts_lists(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, math.perm(n, k)


@EXERCISE.wrong(stage="the routes", says="choose the same expert twice")
def chooses_with_repetition(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, n**k


@EXERCISE.wrong(stage="the routes", says="n choose k, with the n and k that you return")
def counts_shared_routes_too(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, math.comb(n_experts * split, top_k * split)


@EXERCISE.wrong(stage="impossible designs", says="Rounding it away")
def rounds_the_width_down(n_experts, top_k, d_ff, split, n_shared=0):
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    if k < 1:
        raise ValueError("nothing to choose")
    return n, k, d_ff // split, math.comb(n, k)


@EXERCISE.wrong(stage="impossible designs", says="k = 0")
def refuses_negative_places_only(n_experts, top_k, d_ff, split, n_shared=0):
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    if d_ff % split or k < 0:
        raise ValueError("impossible")
    return n, k, d_ff // split, math.comb(n, k)


@EXERCISE.wrong(stage="impossible designs", says="Write `raise`")
def returns_the_error(n_experts, top_k, d_ff, split, n_shared=0):
    try:
        n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    except ValueError as problem:
        return problem
    return n, k, width, math.comb(n, k)


@EXERCISE.wrong(stage="impossible designs", says="refused without saying why")
def refuses_without_a_word(n_experts, top_k, d_ff, split, n_shared=0):
    if d_ff % split or top_k * split - n_shared < 1:
        raise ValueError
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    return n, k, d_ff // split, math.comb(n, k)


@EXERCISE.wrong(stage="the pool", says="Nothing is cut here")
def leaves_an_uncut_layer_as_it_is(n_experts, top_k, d_ff, split, n_shared=0):
    if split == 1:
        return n_experts, top_k, d_ff, math.comb(n_experts, top_k)
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    return n, k, width, math.comb(n, k)


@EXERCISE.wrong(stage="form", says="n_shared is left out and stands for 0")
def shares_one_unasked(n_experts, top_k, d_ff, split, n_shared=1):
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    if d_ff % split or k < 1:
        raise ValueError("impossible")
    return n, k, d_ff // split, math.comb(n, k)


@EXERCISE.right
def by_factorials(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    routes = math.factorial(n) // (math.factorial(k) * math.factorial(n - k))
    return n, k, width, routes


@EXERCISE.right
def by_multiplying_up(n_experts, top_k, d_ff, split, n_shared=0):
    n, k, width = _design(n_experts, top_k, d_ff, split, n_shared)
    routes = 1
    for i in range(k):
        routes = routes * (n - i) // (i + 1)
    return n, k, width, routes
