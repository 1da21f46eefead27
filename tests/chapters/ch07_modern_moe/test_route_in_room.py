"""Exercise 7.9: what its card says of the plain way and of the limit is so."""

import itertools
from statistics import mean

import pytest
import torch

from moe_teach.chapters.ch07_modern_moe import route_in_room_answers as answers
from moe_teach.chapters.ch07_modern_moe.route_in_room import EXERCISE, SIZES, guests, inputs, kept
from moe_teach.judging.engine import SEEDS


def bound(given: dict, n_steps: int = 400) -> float:
    """Sum up, at some prices, what tokens keep after paying, and the price of all room; in percent.

    No answer keeps more, whatever the prices are: it pays no more than all room costs.
    """
    scores, top_k, n_groups = given["scores"].double(), given["top_k"], given["n_groups"]
    sets = [s for n in range(1, top_k + 1) for s in itertools.combinations(range(n_groups), n)]
    table = torch.zeros(len(sets), n_groups, dtype=torch.double)
    for row, members in enumerate(sets):
        table[row, list(members)] = 1
    is_open = table.bool().repeat_interleave(scores.shape[1] // n_groups, dim=1)
    worth = torch.stack(
        [scores.masked_fill(~row, 0).topk(top_k).values.sum(dim=1) for row in is_open], dim=1
    )
    price, lowest = torch.zeros(n_groups, dtype=torch.double), float("inf")
    for step in range(n_steps):
        best = (worth - table @ price).max(dim=1)
        lowest = min(lowest, float(best.values.sum() + price.sum() * given["room"]))
        over = table[best.indices].sum(dim=0) / given["room"] - 1
        price = (price + 0.02 / (1 + step / 40) * over).clamp(min=0)
    return 100 * lowest / float(scores.topk(top_k).values.sum())


def test_the_limit_of_the_card_is_a_bound_and_prices_come_near_it():
    given = [inputs(SIZES, seed) for seed in SEEDS]
    limit = mean(bound(one) for one in given)
    reached = mean(kept(one, answers.by_prices(**one)) for one in given)

    assert f"{limit:.2f}%" in EXERCISE.goal.limit
    assert limit - 0.05 < reached <= limit


def test_the_baseline_of_the_card_is_the_plain_way():
    given = [inputs(SIZES, seed) for seed in SEEDS]
    plain = mean(kept(one, answers.first_come_first_served(**one)) for one in given)

    assert plain == pytest.approx(EXERCISE.goal.baseline, abs=0.01)


def test_a_token_counts_once_on_a_machine():
    expert_ids = torch.tensor([[0, 1, 5], [2, 3, 1], [4, 5, 0]])

    assert guests(expert_ids, n_experts=6, n_groups=3).tolist() == [3, 1, 2]
