"""Each setting gets the learning rate that is best for it, at each length of training."""

import pytest

from moe_teach.train.experiment import run_grid
from moe_teach.train.horizons import (
    Horizon,
    at_best,
    at_length,
    best_rates,
    chosen,
    read_at,
    search,
)

WIDE_LIKES_LITTLE = {("small", 10): 0.2, ("small", 30): 0.1, ("wide", 10): 0.1, ("wide", 30): 0.1}


def run(horizon, seed):
    """A loss that is lowest at the rate each setting likes; seed 9 disagrees with all others."""
    likes = WIDE_LIKES_LITTLE[horizon.name, horizon.steps]
    gap = abs(horizon.lr - likes) if seed != 9 else -abs(horizon.lr - likes)
    return {"loss": 1 + gap, "score": -gap}


@pytest.fixture
def grid(tmp_path):
    settings = search({"small": 1, "wide": 8}, (10, 30), (0.1, 0.2, 0.4))
    return run_grid(tmp_path / "grid.json", settings, run, (0, 1, 9), say=lambda _: None)


def test_a_search_tries_every_setting_at_every_length_and_rate():
    found = search({"small": 1, "wide": 8}, (10, 30), (0.1, 0.2))

    assert len(found) == 8
    assert found["wide, 30 steps, rate 0.2"] == Horizon("wide", 8, 30, 0.2)


def test_the_best_rate_is_that_of_the_setting_and_the_length(grid):
    best = best_rates(grid, "loss", lowest=True, seeds=(0, 1))

    assert {(name, steps): best[steps][name] for name, steps in WIDE_LIKES_LITTLE} == (
        WIDE_LIKES_LITTLE
    )
    assert best_rates(grid, "score", lowest=False, seeds=(0, 1)) == best


def test_seeds_of_the_verdict_have_no_say_in_the_rate(grid):
    assert best_rates(grid, "loss", lowest=True, seeds=(9,))[10]["small"] == 0.4


def test_rates_that_were_run_with_different_numbers_of_seeds_are_not_compared(grid):
    grid = type(grid)(grid.cells[:-1])

    with pytest.raises(ValueError, match=r"'wide, 30 steps'.*0\.1: 3, 0\.2: 3, 0\.4: 2"):
        best_rates(grid, "loss", lowest=True)


def test_the_verdict_runs_each_setting_at_its_own_rate(grid):
    settings = chosen({"small": 1, "wide": 8}, best_rates(grid, "loss", lowest=True, seeds=(0, 1)))

    assert settings[at_length("small", 10)] == Horizon("small", 1, 10, 0.2)
    assert settings[at_length("wide", 30)] == Horizon("wide", 8, 30, 0.1)
    assert len(settings) == 4


def test_a_verdict_reads_the_runs_at_the_best_rate(grid):
    rates = {10: {"small": 0.2, "wide": 0.4}, 30: {"small": 0.1}}

    assert at_best(grid, "small", "loss", rates, (0, 1)) == [[1, 1], [1, 1]]
    (only,) = at_best(grid, "wide", "loss", rates, (1, 9))
    assert only == pytest.approx([1.3, 0.7])
    with pytest.raises(KeyError):
        at_best(grid, "wide", "loss", rates, (77,))


def test_a_run_at_a_constant_rate_holds_the_shorter_ones(tmp_path):
    def watched(horizon, seed):
        return {"steps": [10, 30], "loss": [seed + horizon.lr, seed - horizon.lr]}

    settings = search({"small": 1}, (30,), (0.1, 0.2))
    long = run_grid(tmp_path / "grid.json", settings, watched, (0, 1), say=lambda _: None)
    cut = read_at(long)

    assert best_rates(cut, "loss", lowest=True) == {10: {"small": 0.1}, 30: {"small": 0.2}}
    assert cut.column("small, 10 steps, rate 0.2", "loss") == [0.2, 1.2]
    assert cut.cells[0].result["steps"] == 10
