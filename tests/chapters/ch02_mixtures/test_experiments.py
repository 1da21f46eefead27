"""Chapter 02's longer race: a stack is its runs side by side; stored runs are those of today."""

from dataclasses import asdict

import pytest
import torch

from moe_teach.chapters.ch02_mixtures import experiments as race
from moe_teach.course.experiments import stored
from moe_teach.train.horizons import Horizon, best_rates, read_at


@pytest.mark.parametrize("name", race.ERRORS)
def test_a_run_in_a_stack_is_the_run_alone(name):
    together = race._stack(name, 0.05, (3, 4), (5, 20))
    (alone,) = race._stack(name, 0.05, (4,), (5, 20))

    assert together[1]["steps"] == alone["steps"] == [5, 20]
    for key in ("own", "blend", "alone", "score"):
        assert together[1][key] == pytest.approx(alone[key], abs=2e-3)


def test_a_run_falls_in_its_own_error():
    for name in ("cooperative", "competitive", "likelihood"):
        (run,) = race._stack(name, 0.05, (0,), (0, 40))
        assert run["own"][1] < run["own"][0], name


def test_one_expert_per_place_is_what_a_blend_of_one_says():
    outputs, log_gates = torch.randn(2, 5, 3, 7), torch.randn(2, 5, 7).log_softmax(dim=1)
    kept = race.keep_top(log_gates, 1)
    best = outputs.gather(1, log_gates.argmax(dim=1)[:, None, None].expand(-1, 1, 3, -1))[:, 0]
    y = torch.randn(2, 3, 7)

    torch.testing.assert_close(
        race.cooperative(outputs, kept, y), (y - best).square().sum(dim=1).mean(dim=-1)
    )


def test_a_router_that_knows_the_regions_matches_all_of_them():
    train, new = (race.World(*(part[None] for part in side)) for side in race.draw_world(0))
    centres = torch.cat([race.CENTRES, torch.full((6, 2), 9.0)])
    nearest = torch.cat([2 * centres, -centres.square().sum(dim=1, keepdim=True)], dim=1)

    score, owners = race.matching_score(nearest[None], train, new)

    assert score.item() == 1.0 and owners.item() == 6


def test_the_lessons_own_seed_is_run_at_any_length_and_rate():
    run = race.race(Horizon("cooperative", "cooperative", 400, 0.3), seed=77)

    assert run["steps"] == [400] and len(run["alone"]) == 1


def test_stored_results_belong_to_the_settings_of_today():
    (experiment,) = race.EXPERIMENTS
    grid = stored(experiment.name)

    assert list(grid.names) == list(experiment.settings)
    for cell in grid.cells:
        assert cell.settings == asdict(experiment.settings[cell.name])
        assert cell.result["steps"] == list(race.LENGTHS)


def test_rates_come_from_other_worlds_than_the_verdict():
    assert not set(race.SEEDS) & set(race.SEARCH_SEEDS)
    best = best_rates(read_at(stored("02_errors")), "own", lowest=True, seeds=race.SEARCH_SEEDS)

    assert list(best) == list(race.LENGTHS) and set(best[400]) == set(race.ERRORS)
