"""The code to find fault with is the one that is shown, and the open task's bounds are true."""

import inspect
from itertools import chain, combinations, product
from pathlib import Path

import pytest

from moe_teach.chapters.ch00_start_here import choose_experts as task
from moe_teach.chapters.ch00_start_here.choose_experts_answers import (
    asks_the_same_number_for_all,
    kept_on_average,
    takes_the_largest_of_all_tokens,
)
from moe_teach.chapters.ch00_start_here.counterexample import two_best
from moe_teach.judging.engine import SEEDS

SOLUTIONS = Path(__file__).parents[3] / "solutions" / "00_start_here.py"


def test_the_exercise_shows_the_very_function_that_the_check_calls():
    assert inspect.getsource(two_best) in SOLUTIONS.read_text(encoding="utf-8")


def measured(answer):
    return sum(task.EXERCISE.goal.measuring(answer, seed) for seed in SEEDS) / len(SEEDS)


def test_the_plain_way_and_the_bound_are_what_the_card_says():
    goal = task.EXERCISE.goal
    assert measured(asks_the_same_number_for_all) == goal.baseline
    assert f"below {measured(takes_the_largest_of_all_tokens):.4g} " in goal.limit
    assert "2.8." in SOLUTIONS.read_text(encoding="utf-8")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8, 0.95])
def test_no_choice_at_all_needs_fewer_experts_than_the_best_rule(share):
    subsets = list(chain(*(combinations(range(3), n) for n in (1, 2, 3))))
    for seed in range(5):
        probs = task.draw_probs(seed, 4, 3)
        enough = (
            sum(map(len, asked))
            for asked in product(subsets, repeat=4)
            if kept_on_average(probs, asked) >= share
        )
        assert sum(map(len, takes_the_largest_of_all_tokens(probs, share))) == min(enough)
