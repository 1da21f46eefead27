"""Exercise 15.5: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch15_serving.counting_model import (
    CountingModel,
    alone,
    plainly,
    some_requests,
)
from moe_teach.chapters.ch15_serving.is_right import EXERCISE
from moe_teach.chapters.ch15_serving.schedulers import BUSY

MANY = list(BUSY)


def _log(serve, requests, n_slots, budget):
    model = CountingModel(n_slots)
    answers = serve(model, [(a, list(p), n) for a, p, n in requests], n_slots, budget)
    return answers, model.passes


def _agrees(serve, requests, n_slots, budget):
    return _log(serve, requests, n_slots, budget) == _log(plainly, requests, n_slots, budget)


@EXERCISE.wrong(stage="right schedulers", says="keeps all rules")
def trusts_nobody(serve):
    return False


@EXERCISE.wrong(stage="the scheduler above", says="that you were shown")
def looks_at_answers_only(serve):
    answers, _ = _log(serve, MANY, 3, 4)
    return answers == [alone(request) for request in MANY]


@EXERCISE.wrong(stage="right schedulers", says="Any free slot will do")
def looks_at_slots(serve):
    seen = []

    def read(pieces):
        seen.append([slot for slot, _, _ in pieces])
        return [1] * len(pieces)

    serve(read, [(0, [1], 1), (0, [2], 1)], 2, 4)
    return seen == [[0, 1]]


@EXERCISE.wrong(stage="wrong schedulers", says="all requests are there from the beginning")
def forgets_the_clock(serve):
    return _agrees(serve, [(0, prompt, n_new) for _, prompt, n_new in MANY], 3, 4)


@EXERCISE.wrong(stage="wrong schedulers", says="no harm as long as")
def counts_the_passes_only(serve):
    return len(_log(serve, MANY, 3, 4)[1]) == len(_log(plainly, MANY, 3, 4)[1])


@EXERCISE.wrong(stage="wrong schedulers", says="nobody looks at what is read in them")
def counts_the_passes_of_many_requests(serve):
    for seed in range(5):
        requests = some_requests(seed, 7, 9)
        (found, passes), (expected, wanted) = (_log(s, requests, 2, 4) for s in (serve, plainly))
        if found != expected or len(passes) != len(wanted):
            return False
    return True


@EXERCISE.wrong(stage="wrong schedulers", says="no harm as long as")
def has_a_slot_for_everybody(serve):
    return _agrees(serve, MANY, 7, 4)


@EXERCISE.wrong(stage="right schedulers", says="must say True or False")
def says_how_many_passes(serve):
    return len(_log(serve, MANY, 3, 4)[1])


@EXERCISE.right
def asserts_pass_by_pass(serve):
    answers, passes = _log(serve, MANY, 3, 4)
    expected, wanted = _log(plainly, MANY, 3, 4)
    assert answers == expected
    assert passes == wanted
    return True


@EXERCISE.right
def several_cases(serve):
    cases = (
        (((0, [1], 6), (0, [2], 2), (0, [3], 3), (0, [4, 5], 2)), 2, 8),
        (((0, [1] * 7, 2), (0, [2] * 3, 2), (0, [3] * 4, 1), (1, [4], 3)), 4, 5),
        (((0, [1], 8), (1, [2] * 9, 2)), 2, 2),
        (((0, [1, 2], 1), (4, [3], 2), (5, [4], 1)), 1, 4),
        (MANY, 3, 4),
    )
    return all(_agrees(serve, list(requests), *sizes) for requests, *sizes in cases)
