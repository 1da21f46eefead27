"""Exercise 0.4: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch00_start_here.counterexample import EXERCISE, two_best


@EXERCISE.wrong(stage="the function fails", says="does what it says")
def has_no_tie():
    return [0.5, 2.0, -1.0]


@EXERCISE.wrong(stage="the function fails", says="does no harm")
def ties_above_the_border():
    return [2.0, 2.0, 1.0]


@EXERCISE.wrong(stage="the function fails", says="Nobody is left")
def ties_with_nobody_left():
    return [1.0, 1.0]


@EXERCISE.wrong(stage="as few experts as possible", says="on fewer, too")
def takes_too_many():
    return [0.0, 1.0, 1.0, 2.0]


@EXERCISE.wrong(stage="a list of scores", says="not a number")
def relies_on_nan():
    return [float("nan"), 1.0, 2.0]


@EXERCISE.wrong(stage="a list of scores", says="nobody can choose two")
def gives_one_score():
    return [1.0]


@EXERCISE.wrong(stage="a list of scores", says="not a list of numbers")
def counts_what_comes_out():
    return len(two_best([1.0, 1.0, 1.0]))


@EXERCISE.right
def all_alike():
    return [0.0, 0.0, 0.0]


@EXERCISE.right
def whole_numbers_in_a_tuple():
    return -1, 7, -1


@EXERCISE.right
def by_search():
    from itertools import product

    return next(list(s) for s in product((2, 1), repeat=3) if len(two_best(list(s))) != 2)
