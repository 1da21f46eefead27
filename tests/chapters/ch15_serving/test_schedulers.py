"""The schedulers that exercises 15.2 and 15.5 judge with are what they are said to be."""

import pytest

from moe_teach.chapters.ch15_serving.counting_model import (
    CountingModel,
    alone,
    plainly,
    some_requests,
)
from moe_teach.chapters.ch15_serving.schedulers import BUSY, RIGHT, WRONG, scheduler
from moe_teach.judging.exercise import WrongAnswer


def run(serve, requests, n_slots, budget):
    model = CountingModel(n_slots)
    return serve(model, list(requests), n_slots, budget), model.passes


@pytest.mark.parametrize("name", RIGHT)
def test_right_schedulers_read_what_the_rules_say(name):
    for seed in range(30):
        requests = some_requests(seed, 8, 6)
        for n_slots, budget in ((1, 1), (3, 4), (8, 100)):
            expected = run(plainly, requests, n_slots, budget)
            assert run(scheduler(name), requests, n_slots, budget) == expected
            assert expected[0] == [alone(request) for request in requests]


def test_every_fault_shows_on_busy_traffic_and_no_two_show_alike():
    seen = [run(plainly, BUSY, 3, 4)]
    for name in WRONG:
        try:
            found = run(scheduler(name), BUSY, 3, 4)
        except WrongAnswer:
            continue
        assert found not in seen, name
        seen.append(found)
    assert len(seen) >= len(WRONG)


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ([], "without any piece"),
        ([(0, 0, [1]), (0, 1, [2])], "same slot"),
        ([(2, 0, [1])], "there are 2"),
        ([(0, 0, [])], "no tokens"),
        ([(0, 3, [1])], "starts at 3"),
    ],
)
def test_what_no_model_could_read_is_said(pieces, word):
    with pytest.raises(WrongAnswer, match=word):
        CountingModel(2)(pieces)
