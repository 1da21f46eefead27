"""The open task of chapter 04: hindsight is bounded tightly, and its stated figures are true."""

from itertools import product

import pytest
import torch

from moe_teach.chapters.ch04_dispatch.choose_now import GOAL, draw_probs, hindsight
from moe_teach.chapters.ch04_dispatch.choose_now_answers import (
    first_come_first_served,
    with_prices_found_in_the_past,
)


def best_of_all(probs, top_k, capacity):
    """Try every way to give each token up to top_k experts: the oracle, for tiny cases."""
    n_tokens, n_experts = probs.shape
    sets = [mask for mask in product((0, 1), repeat=n_experts) if sum(mask) <= top_k]
    best = 0.0
    for chosen in product(sets, repeat=n_tokens):
        mask = torch.tensor(chosen)
        if int(mask.sum(dim=0).max()) <= capacity:
            best = max(best, float((mask * probs).sum()))
    return best


@pytest.mark.parametrize("sizes", [(5, 3, 1, 2), (4, 3, 2, 2), (6, 2, 1, 2), (3, 4, 2, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_hindsight_is_bounded_from_above_and_tightly(sizes, seed) -> None:
    n_tokens, n_experts, top_k, capacity = sizes
    probs = draw_probs(seed, n_tokens, n_experts)
    best = best_of_all(probs, top_k, capacity)

    assert best - 1e-5 <= hindsight(probs, top_k, capacity, 4000) <= 1.01 * best


def test_the_goal_states_what_the_plain_way_reaches() -> None:
    figures = [GOAL.measuring(first_come_first_served, seed) for seed in range(3)]

    assert sum(figures) / 3 == pytest.approx(GOAL.baseline, abs=0.05)


def test_there_is_room_above_the_goal() -> None:
    assert GOAL.measuring(with_prices_found_in_the_past, 0) > GOAL.target + 4
