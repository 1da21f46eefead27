"""Many runs at once: named settings times seeds, stored cell by cell so that nothing runs twice."""

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch

from moe_teach.files import write_atomically
from moe_teach.train.machine import facts

Run = Callable[[Any, int], dict[str, Any]]  # (settings, seed) -> what was measured
SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One run of a grid: which settings and seed, what came out, what it cost, and where."""

    name: str
    seed: int
    settings: Any
    result: dict[str, Any]
    seconds: float
    cpu_seconds: float
    machine: dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """The finished cells of an experiment, in the order of its settings and seeds."""

    cells: tuple[Cell, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the settings, in order."""
        return tuple(dict.fromkeys(cell.name for cell in self.cells))

    def of(self, name: str) -> tuple[Cell, ...]:
        """Return the cells of one setting, one for each seed.

        Raises:
            ValueError: if no cell has this name.
        """
        found = tuple(cell for cell in self.cells if cell.name == name)
        if not found:
            raise ValueError(f"No cell is called {name!r}; there are {', '.join(self.names)}.")
        return found

    def column(self, name: str, key: str) -> list[Any]:
        """Return one entry of the results of one setting, one for each seed."""
        return [cell.result[key] for cell in self.of(name)]


@dataclass(frozen=True)
class Experiment:
    """A grid with a name, as `moe-teach experiment NAME` runs it.

    `run(settings, seed)` must be a function of a module (so that other processes find it), draw
    all its randomness from the seed, and return plain JSON values.
    """

    name: str
    purpose: str
    settings: Mapping[str, Any]
    run: Run
    seeds: tuple[int, ...] = (0, 1, 2)


def run_grid(
    path: str | Path,
    settings: Mapping[str, Any],
    run: Run,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    jobs: int = 1,
    say: Callable[[str], object] = print,
) -> Grid:
    """Run every setting with every seed and store each cell as soon as it is finished.

    A cell that the file already holds with the same settings is not run again, so a grid that was
    stopped goes on where it was. Cells that are no longer asked for are dropped.

    Args:
        path: the JSON file; it is replaced as a whole after every cell.
        settings: a name for each setting, and what `run` gets: JSON values or a dataclass.
        run: does one run, `run(settings, seed)`, and returns JSON values.
        seeds: as many as the claim needs; at least three.
        jobs: processes side by side, each with one thread.
        say: told about each finished cell.
    """
    path = Path(path)
    wanted = [(name, seed) for name in settings for seed in seeds]
    stored = {(cell.name, cell.seed): cell for cell in load_grid(path).cells}
    done = {
        key: cell
        for key, cell in stored.items()
        if key in wanted and cell.settings == _plain(settings[cell.name])
    }
    todo = [(name, seed, settings[name]) for name, seed in wanted if (name, seed) not in done]
    for cell in _run_all(run, todo, jobs):
        done[cell.name, cell.seed] = cell
        grid = Grid(tuple(done[key] for key in wanted if key in done))
        write_atomically(path, _to_json(grid).encode())
        say(f"{len(done)} of {len(wanted)}: {cell.name}, seed {cell.seed}, {cell.seconds:.0f} s")
    return Grid(tuple(done[key] for key in wanted))


def load_grid(path: str | Path) -> Grid:
    """Read the cells of a file; none where there is no file yet."""
    path = Path(path)
    if not path.exists():
        return Grid(())
    return Grid(tuple(Cell(**cell) for cell in json.loads(path.read_text("utf-8"))["cells"]))


def _run_all(run: Run, todo: list[tuple[str, int, Any]], jobs: int) -> Iterator[Cell]:
    if jobs <= 1 or len(todo) <= 1:
        yield from (_run_one(run, *cell) for cell in todo)
        return
    # A forked torch may hang in its thread pool; a fresh process never does.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, fresh, torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(_run_one, run, *cell) for cell in todo]):
            yield future.result()


def _run_one(run: Run, name: str, seed: int, settings: Any) -> Cell:
    wall, cpu = time.perf_counter(), time.process_time()
    result = _plain(run(settings, seed))
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    cost = (round(seconds, 2), round(cpu_seconds, 2))
    return Cell(name, seed, _plain(settings), result, *cost, facts())


def _plain(value: Any) -> Any:
    """Turn dataclasses and tuples into what JSON gives back, so that both can be compared."""
    return json.loads(json.dumps(value, default=_as_dict))


def _as_dict(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise ValueError(f"Settings and results must be JSON values, and {value!r} is none.")


def _to_json(grid: Grid) -> str:
    """Write one cell per line: small, and a changed cell is one changed line."""
    lines = ",\n".join(json.dumps(asdict(cell)) for cell in grid.cells)
    return f'{{"schema": {SCHEMA}, "cells": [\n{lines}\n]}}\n'
