"""A grid of runs is stored cell by cell, and nothing that is finished runs twice."""

import json
from dataclasses import dataclass

import pytest

from moe_teach import cli
from moe_teach.course import experiments
from moe_teach.train.experiment import Experiment, load_grid, run_grid


@dataclass(frozen=True)
class Setting:
    factor: int
    shape: tuple[int, ...] = (1, 2)


class Counting:
    """A run that remembers which cells it was asked for, and can break at one of them."""

    def __init__(self, breaks_at=None):
        self.calls, self.breaks_at = [], breaks_at

    def __call__(self, setting, seed):
        if (setting.factor, seed) == self.breaks_at:
            raise KeyboardInterrupt
        self.calls.append((setting.factor, seed))
        return {"loss": setting.factor * seed / 2, "curve": [seed, seed + 1]}


SETTINGS = {"small": Setting(1), "large": Setting(10)}


def quiet(_text):
    pass


def test_every_cell_is_stored_with_its_seed_machine_versions_date_and_cost(tmp_path):
    path = tmp_path / "grid.json"
    grid = run_grid(path, SETTINGS, Counting(), seeds=(0, 1, 2), say=quiet)

    assert load_grid(path) == grid
    assert grid.names == ("small", "large")
    assert grid.column("large", "loss") == [0.0, 5.0, 10.0]
    cell = json.loads(path.read_text())["cells"][4]
    assert (cell["name"], cell["seed"]) == ("large", 1)
    assert cell["settings"] == {"factor": 10, "shape": [1, 2]}
    assert {"processor", "threads", "python", "torch", "moe-teach", "date"} <= set(cell["machine"])
    assert cell["seconds"] >= 0 and cell["cpu_seconds"] >= 0


def test_a_stopped_grid_goes_on_where_it_was(tmp_path):
    path = tmp_path / "grid.json"
    with pytest.raises(KeyboardInterrupt):
        run_grid(path, SETTINGS, Counting(breaks_at=(10, 1)), say=quiet)
    assert len(load_grid(path).cells) == 4

    rest = Counting()
    grid = run_grid(path, SETTINGS, rest, say=quiet)
    assert rest.calls == [(10, 1), (10, 2)]
    assert [(cell.name, cell.seed) for cell in grid.cells] == [
        (name, seed) for name in SETTINGS for seed in range(3)
    ]


def test_only_changed_settings_run_again_and_unwanted_cells_go(tmp_path):
    path = tmp_path / "grid.json"
    run_grid(path, SETTINGS, Counting(), say=quiet)
    again = Counting()
    changed = {"large": Setting(10), "new": Setting(3)}
    grid = run_grid(path, changed, again, say=quiet)
    assert again.calls == [(3, 0), (3, 1), (3, 2)]
    assert load_grid(path) == grid
    assert grid.names == ("large", "new")


def halved(setting, seed):
    return {"half": setting / 2, "seed": seed}


def test_an_unknown_name_and_a_value_that_is_not_json_are_refused(tmp_path):
    grid = run_grid(tmp_path / "a.json", {"one": 1}, halved, (0,), say=quiet)
    with pytest.raises(ValueError, match=r"No cell is called 'two'; there are one\."):
        grid.of("two")
    with pytest.raises(ValueError, match="must be JSON values"):
        run_grid(tmp_path / "b.json", {"one": 1}, lambda *_: {"x": {1}}, (0,), say=quiet)


def test_processes_side_by_side_store_the_same_results(tmp_path):
    """A fresh process must find the run; `dict.fromkeys("ab", 3)` gives a 3 and b 3 anywhere."""
    settings, run, seeds = {"one": "ab", "two": "c"}, dict.fromkeys, (3, 4)
    one = run_grid(tmp_path / "a.json", settings, run, seeds, say=quiet)
    two = run_grid(tmp_path / "b.json", settings, run, seeds, jobs=2, say=quiet)
    assert one.column("one", "b") == [3, 4]
    assert [cell.result for cell in one.cells] == [cell.result for cell in two.cells]


def test_the_command_runs_an_experiment_into_the_repository(tmp_path, monkeypatch, capsys):
    known = Experiment("05_toy", "halve things", {"one": 1}, halved, seeds=(0, 1))
    monkeypatch.setattr(experiments, "every", lambda: iter([known]))
    monkeypatch.setattr(cli.authors, "repository", lambda: tmp_path)

    assert cli.main(["experiment"]) == 0
    assert "05_toy" in capsys.readouterr().out
    assert cli.main(["experiment", "05_toy"]) == 0
    assert "2 of 2: one, seed 1" in capsys.readouterr().out
    stored = load_grid(tmp_path / "notebooks" / "results" / "05_toy.json")
    assert stored.column("one", "half") == [0.5, 0.5]

    assert cli.main(["experiment", "05_toi"]) == 2
    assert "There is no experiment '05_toi'; there is 05_toy." in capsys.readouterr().err


def test_results_that_were_never_made_are_missed_in_a_sentence():
    with pytest.raises(LookupError, match="moe-teach experiment 99_none makes them"):
        experiments.stored("99_none")
