"""The experiments behind stored results: many seeds, run by a command, read by lessons.

A chapter's room that has experiments holds them in `experiments.EXPERIMENTS`, a tuple of
`moe_teach.train.experiment.Experiment`. The experiment "05_experts" is stored in
`notebooks/results/05_experts.json`.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

from moe_teach.chapters import WITH_EXPERIMENTS
from moe_teach.files import course_folder
from moe_teach.train.experiment import Experiment, Grid, load_grid, run_grid

STORED = Path("notebooks") / "results"


def every() -> Iterator[Experiment]:
    """Give all experiments, chapter by chapter."""
    for room in WITH_EXPERIMENTS:
        yield from importlib.import_module(f"moe_teach.chapters.{room}.experiments").EXPERIMENTS


def find(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        LookupError: in a sentence that lists the names there are.
    """
    known = {experiment.name: experiment for experiment in every()}
    if name not in known:
        names = ", ".join(known) or "none yet"
        raise LookupError(f"There is no experiment {name!r}; there is {names}.")
    return known[name]


def run(name: str, repository: Path, jobs: int = 1) -> Grid:
    """Run what is missing of an experiment and store it in the repository."""
    experiment = find(name)
    path = repository / STORED / f"{name}.json"
    return run_grid(path, experiment.settings, experiment.run, experiment.seeds, jobs=jobs)


def stored(name: str) -> Grid:
    """Read the results of an experiment, from the clone or from the installed package.

    Raises:
        LookupError: if they are in neither place.
    """
    path = course_folder() / STORED / f"{name}.json"
    if path.is_file():
        return load_grid(path)
    raise LookupError(
        f"There are no stored results of {name!r} here. In a clone of the course's repository, "
        f"moe-teach experiment {name} makes them."
    )
