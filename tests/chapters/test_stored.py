"""What lessons read from store is whole: every run that an experiment asks for, and no other."""

import pytest

from moe_teach.course.experiments import STORED, every
from moe_teach.files import course_folder
from moe_teach.train.experiment import load_grid, run_grid


def missing(settings, seed):
    raise AssertionError(f"{settings} with seed {seed} is not stored.")


@pytest.mark.parametrize("experiment", tuple(every()), ids=lambda experiment: experiment.name)
def test_every_run_of_an_experiment_is_stored(experiment):
    path = course_folder() / STORED / f"{experiment.name}.json"
    whole = run_grid(path, experiment.settings, missing, experiment.seeds)
    assert load_grid(path).cells == whole.cells
