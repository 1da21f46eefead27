"""The open task of chapter 04: hindsight is bounded tightly, and its stated figures are true."""

from itertools import product

import pytest
import torch

from moe_teach.chapters.ch04_dispatch.choose_now import EXERCISE, GOAL, draw_probs, hindsight
from moe_teach.chapters.ch04_dispatch.choose_now_answers import (
    first_come_first_served,
    with_a_steep_price,
    with_prices_found_in_the_past,
)
from moe_teach.judging.engine import run_exercise


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


def in_the_goal(fault):
    """Give an answer with a fault that shows where 256 tokens come, and late among them."""

    def choose_now(probs, past, used, capacity, n_tokens, top_k):
        got = with_a_steep_price(probs, past, used, capacity, n_tokens, top_k)
        return fault(probs, past, used, got) if len(past) == 200 else got

    return choose_now


FAULTS = {
    "changed its input `past`": lambda probs, past, used, got: (past.zero_(), got)[1],
    "changed its input `used`": lambda probs, past, used, got: (used.numpy().fill(0), got)[1],
    "switched `requires_grad`": lambda probs, past, used, got: (probs.requires_grad_(), got)[1],
    "returned None": lambda probs, past, used, got: None,
    "ZeroDivisionError": lambda probs, past, used, got: 1 // 0,
    "different ones, from 0": lambda probs, past, used, got: got + 8,
}


@pytest.mark.parametrize("said", FAULTS)
def test_the_goal_turns_away_what_the_stages_would(said) -> None:
    outcome = run_exercise(EXERCISE, in_the_goal(FAULTS[said]), seeds=(0,))

    assert outcome.stage == "goal" and outcome.earned == 0
    assert said in outcome.message
    if "None" not in said:
        assert "200" in dict(outcome.example)["past"]


def test_parameters_may_have_other_names() -> None:
    def choose_now(p, before, taken, room, coming, k):
        return with_a_steep_price(p, before, taken, room, coming, k)

    plain, renamed = (
        run_exercise(EXERCISE, answer, seeds=(0,), reference=lambda _: with_a_steep_price)
        for answer in (with_a_steep_price, choose_now)
    )

    assert renamed == plain and plain.state == "passed"


def test_no_view_leads_to_the_tokens_still_to_come() -> None:
    def sees(**told):
        assert told["past"]._base is None and told["probs"]._base is None
        assert told["past"].untyped_storage().nbytes() == 4 * told["past"].numel()
        return with_a_steep_price(**told)

    assert run_exercise(EXERCISE, sees, seeds=(0,)).state == "passed"
