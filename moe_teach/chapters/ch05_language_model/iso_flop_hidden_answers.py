"""Exercise 5.2: wrong answers with what they must be told, and other right ones."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from moe_teach.chapters.ch05_language_model.iso_flop_hidden import EXERCISE


def _named(function: Callable[..., int]) -> Callable[..., int]:
    """Let a short function be called with the stub's long names."""

    def call(n_experts, top_k, d_expert, d_shared=0, n_matrices=3, equal="active", multiple_of=1):
        if equal not in ("active", "total"):
            raise ValueError(equal)
        n_counted = top_k if equal == "active" else n_experts
        return function(n_experts, top_k, n_counted, d_expert, d_shared, n_matrices, multiple_of)

    call.__name__ = function.__name__
    return call


def _up(width: float | int, multiple_of: int) -> int:
    return math.ceil(width / multiple_of) * multiple_of


@EXERCISE.wrong(stage="an integer", says="plain whole number")
@_named
def returns_a_float(e, k, counted, d, s, n, m):
    return counted * d + s + e / n


@EXERCISE.wrong(stage="equal active", says="The router is missing")
@_named
def forgets_the_router(e, k, counted, d, s, n, m):
    return _up(counted * d + s, m)


@EXERCISE.wrong(stage="equal active", says="The router counts too much")
@_named
def counts_the_router_n_matrices_times(e, k, counted, d, s, n, m):
    return _up(counted * d + s + e, m)


@EXERCISE.wrong(stage="equal active", says="only the chosen rows")
@_named
def counts_chosen_rows_of_the_router(e, k, counted, d, s, n, m):
    return _up(counted * d + s + k / n, m)


@EXERCISE.wrong(stage="equal active", says="The two meanings are mixed up")
@_named
def mixes_up_the_two_meanings(e, k, counted, d, s, n, m):
    return _up((e if counted == k else k) * d + s + e / n, m)


@EXERCISE.wrong(stage="equal active", says="Only one expert was counted")
@_named
def counts_one_expert(e, k, counted, d, s, n, m):
    return _up(d + s + e / n, m)


@EXERCISE.wrong(stage="equal active", says="The shared expert is missing")
@_named
def forgets_the_shared_expert(e, k, counted, d, s, n, m):
    return _up(counted * d + e / n, m)


@EXERCISE.wrong(stage="equal active", says="The shared expert was multiplied")
@_named
def shares_the_shared_expert_out(e, k, counted, d, s, n, m):
    return _up(counted * (d + s) + e / n, m)


@EXERCISE.wrong(stage="equal active", says="fixed at 3")
@_named
def takes_three_matrices_always(e, k, counted, d, s, n, m):
    return _up(counted * d + s + e / 3, m)


@EXERCISE.wrong(stage="equal active", says="fixed at 2")
@_named
def takes_two_matrices_always(e, k, counted, d, s, n, m):
    return _up(counted * d + s + e / 2, m)


@EXERCISE.wrong(stage="equal active", says="share was rounded down before")
@_named
def rounds_the_router_down(e, k, counted, d, s, n, m):
    return _up(counted * d + s + e // n, m)


@EXERCISE.wrong(stage="equal active", says="This is rounded down")
@_named
def rounds_down(e, k, counted, d, s, n, m):
    return int((counted * d + s + e / n) // m * m)


@EXERCISE.wrong(stage="equal active", says="rounded to the nearest")
@_named
def rounds_to_the_nearest(e, k, counted, d, s, n, m):
    return int((counted * d + s + e / n) / m + 0.5) * m


@EXERCISE.wrong(stage="equal active", says="not rounded to a multiple")
@_named
def ignores_the_multiple(e, k, counted, d, s, n, m):
    return math.ceil(counted * d + s + e / n)


@EXERCISE.wrong(stage="equal active", says="round once, at the end")
@_named
def rounds_twice(e, k, counted, d, s, n, m):
    return _up(counted * d, m) + _up(s, m) + _up(e / n, m)


@EXERCISE.wrong(stage="equal active", says="Only where all experts work")
@_named
def forgets_the_router_where_all_work(e, k, counted, d, s, n, m):
    return _up(counted * d + s + (e / n if k < e else 0), m)


@EXERCISE.wrong(stage="equal active", says="float32 has 24 bits")
@_named
def counts_in_float32(e, k, counted, d, s, n, m):
    width = (torch.tensor(float(counted * d)) + s + e / n) / m
    return int(width.ceil().item()) * m


@EXERCISE.wrong(stage="another word", says='"Active" is neither')
def reads_any_spelling(
    n_experts, top_k, d_expert, d_shared=0, n_matrices=3, equal="active", multiple_of=1
):
    equal = equal.lower()
    if equal not in ("active", "total"):
        raise ValueError(equal)
    n_counted = top_k if equal == "active" else n_experts
    return _up(n_counted * d_expert + d_shared + n_experts / n_matrices, multiple_of)


@EXERCISE.wrong(stage="another word", says="A typo that quietly")
def swallows_a_typo(
    n_experts, top_k, d_expert, d_shared=0, n_matrices=3, equal="active", multiple_of=1
):
    n_counted = top_k if equal == "active" else n_experts
    return _up(n_counted * d_expert + d_shared + n_experts / n_matrices, multiple_of)


@EXERCISE.right
@_named
def with_d_model_and_fractions(e, k, counted, d, s, n, m, d_model=12):
    parameters = n * d_model * (counted * d + s) + d_model * e
    return math.ceil(Fraction(parameters, n * d_model * m)) * m


@EXERCISE.right
@_named
def as_a_numpy_integer(e, k, counted, d, s, n, m):
    return np.int64(-((n * (counted * d + s) + e) // -(n * m)) * m)


@EXERCISE.right
@_named
def by_counting_up(e, k, counted, d, s, n, m):
    width = (counted * d + s) // m * m
    while n * width < n * (counted * d + s) + e:
        width += m
    return width
