"""Chapter 05's experiments: the models differ in what they say, and runs repeat."""

from dataclasses import replace

import pytest
import torch

from moe_teach.chapters.ch05_language_model.experiments import (
    ACTIVE_WIDTH,
    EXPERIMENTS,
    FACTS,
    RandomRouter,
    Setting,
    build_data,
    build_model,
    facts_of,
    measure,
    measure_prices,
    run_setting,
    time_steps,
)
from moe_teach.chapters.ch05_language_model.experiments.longer import BEST, measure_for
from moe_teach.course.experiments import stored
from moe_teach.train.horizons import Horizon, best_rates


@pytest.mark.parametrize("name", FACTS)
def test_the_counted_parameters_are_those_of_the_built_model(name):
    setting = FACTS[name]
    model = build_model(setting, seed=0)

    assert sum(p.numel() for p in model.parameters()) == facts_of(setting)["n_total"]


def test_no_mixture_has_more_at_work_than_the_dense_baseline():
    dense = facts_of(FACTS["dense, equal active"])

    for name, setting in FACTS.items():
        if setting.n_experts:
            cost = facts_of(setting)
            assert cost["n_active"] <= dense["n_active"], name
            assert cost["flops_per_step"] <= dense["flops_per_step"], name
    assert ACTIVE_WIDTH == 80


def test_equal_total_means_what_sixteen_experts_store():
    wide, sparse = (facts_of(FACTS[name]) for name in ("dense, equal total", "16 experts"))

    assert wide["n_total"] == sparse["n_total"]


def test_a_run_repeats_and_its_curve_ends_in_its_loss():
    setting = replace(FACTS["16 experts"], steps=20)
    first, again = (measure(setting, seed=3) for _ in range(2))

    assert first == again
    assert first["steps"][-1] == 20
    assert first["losses"][-1] == first["loss"] < 5.6


def test_dice_repeat_with_their_seed_and_give_everyone_a_turn():
    x = torch.zeros(4000, 8)
    one, same, other = (RandomRouter(16, seed)(x) for seed in (1, 1, 2))

    assert torch.equal(one.expert_ids, same.expert_ids)
    assert not torch.equal(one.expert_ids, other.expert_ids)
    assert one.expert_ids.flatten().bincount(minlength=16).min() > 150
    assert torch.equal(one.gates, torch.ones(4000, 1))


def test_a_weighed_table_chooses_as_the_table_and_weighs_as_the_router():
    table, weighed, learned = (
        build_model(Setting(task="facts", n_experts=16, router=router), seed=2)
        for router in ("hash", "weighed hash", "learned")
    )
    ids = torch.randint(256, (3, 20))
    fixed, mixed, own = (model(ids).routings[0] for model in (table, weighed, learned))

    assert torch.equal(mixed.expert_ids, fixed.expert_ids)
    torch.testing.assert_close(mixed.probs, own.probs)
    torch.testing.assert_close(mixed.gates, own.probs.gather(1, fixed.expert_ids))


def test_a_horizon_sets_length_and_rate_of_a_run():
    horizon = Horizon("dense", FACTS["dense, equal active"], 32, 8e-3)
    run = measure_for(horizon, seed=1)
    _, other = run_setting(replace(horizon.setting, steps=32), 1, every=2, lr=8e-3)

    assert run["steps"] == list(range(2, 33, 2))
    assert run["loss"] == round(other.validation[-1][1], 4)


def test_rates_were_searched_on_other_seeds_than_the_verdicts():
    best = best_rates(stored("05_rates"), "loss", lowest=True)[800]

    for rates in BEST.values():
        assert rates == {name: best[name] for name in rates}


def test_every_seed_is_asked_the_same_questions():
    (_, mine), (_, yours) = (build_data("facts", seed) for seed in (0, 1))

    assert all(torch.equal(a.targets, b.targets) for a, b in zip(mine, yours, strict=True))


def test_steps_are_timed_on_one_thread_which_is_given_back(monkeypatch):
    asked = []
    keep = torch.set_num_threads
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (asked.append(n), keep(n)))
    times = time_steps(("dense, equal active",), seed=0, steps=13)
    assert asked == [1, before] and torch.get_num_threads() == before
    assert [len(milliseconds) for milliseconds in times.values()] == [3]


def test_prices_are_milliseconds_for_every_model():
    prices = measure_prices(("dense, equal active", "16 experts"), seed=0, steps=20)

    assert set(prices) == {"dense, equal active", "16 experts"}
    assert all(price > 0 for price in prices.values())


def test_a_setting_without_experts_is_dense():
    assert build_model(Setting(task="facts"), seed=0)(torch.zeros(1, 4).long()).routings == ()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_every_result_is_stored_for_every_seed(experiment):
    grid = stored(experiment.name)

    assert grid.names == tuple(experiment.settings)
    for name in grid.names:
        assert len(grid.of(name)) >= len(experiment.seeds)
