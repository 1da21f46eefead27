"""The same comparison at several lengths of training, each model at a learning rate of its own.

A grid is searched first, on seeds that no verdict uses: every setting, length and rate. Then the
verdict's seeds run at the rate that the search found best for that setting and that length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from moe_teach.train.experiment import Cell, Grid


@dataclass(frozen=True)
class Horizon:
    """One setting, trained for `steps` (its schedule has that length) at the learning rate `lr`."""

    name: str
    setting: Any
    steps: int
    lr: float


def search(
    settings: Mapping[str, Any], lengths: Iterable[int], rates: Iterable[float]
) -> dict[str, Horizon]:
    """Name every setting at every length and rate, as the settings of an `Experiment`."""
    rates = tuple(rates)
    return {
        f"{at_length(name, steps)}, rate {lr:g}": Horizon(name, setting, steps, lr)
        for steps in lengths
        for name, setting in settings.items()
        for lr in rates
    }


def chosen(
    settings: Mapping[str, Any], rates: Mapping[int, Mapping[str, float]]
) -> dict[str, Horizon]:
    """Name every setting at every length of `rates` (steps -> name -> rate) that names it."""
    return {
        at_length(name, steps): Horizon(name, settings[name], steps, lr)
        for steps, of_length in rates.items()
        for name, lr in of_length.items()
    }


def at_length(name: str, steps: int) -> str:
    """Name a setting at one length, for example "8 top-1, 900 steps"."""
    return f"{name}, {steps} steps"


def read_at(grid: Grid) -> Grid:
    """Cut runs at a constant rate into shorter ones: one cell for each entry of their "steps".

    The other entries of a result are lists as long. Only a run without a schedule may be cut: the
    beginning of a schedule is no short run.
    """
    return Grid(
        tuple(
            replace(
                cell,
                name=f"{at_length(cell.settings['name'], steps)}, rate {cell.settings['lr']:g}",
                settings={**cell.settings, "steps": steps},
                result={key: values[i] for key, values in cell.result.items()},
            )
            for cell in grid.cells
            for i, steps in enumerate(cell.result["steps"])
        )
    )


def at_best(
    grid: Grid,
    name: str,
    key: str,
    rates: Mapping[int, Mapping[str, float]],
    seeds: Iterable[int],
) -> list[list[Any]]:
    """Return an entry of the results of one setting: a list for each length, one for each seed.

    Args:
        grid: cells whose settings are `Horizon`s.
        name: of the setting.
        key: the entry.
        rates: steps -> name -> the rate to take; a length without this name is left out.
        seeds: those of the verdict, in their order.

    Raises:
        KeyError: if a run is not in the grid.
    """
    known = {
        (cell.settings["name"], cell.settings["steps"], cell.settings["lr"], cell.seed): cell
        for cell in grid.cells
    }
    return [
        [known[name, steps, of_length[name], seed].result[key] for seed in seeds]
        for steps, of_length in rates.items()
        if name in of_length
    ]


def best_rates(
    grid: Grid, key: str, *, lowest: bool, seeds: Iterable[int] | None = None
) -> dict[int, dict[str, float]]:
    """Return steps -> name -> the rate with the best mean of `key` over the seeds of a search.

    Args:
        grid: cells whose settings are `Horizon`s.
        key: the entry of the results to judge by.
        lowest: whether a smaller entry is the better one, as with a loss.
        seeds: those of the search; all of them if None.

    Raises:
        ValueError: if one rate of a setting was run with fewer seeds than another.
    """
    found: dict[int, dict[str, dict[float, list[float]]]] = {}
    for cell in grid.cells:
        if seeds is None or cell.seed in seeds:
            _entries(found, cell).append(cell.result[key])
    return {
        steps: {name: _best(name, steps, rates, lowest) for name, rates in of_length.items()}
        for steps, of_length in found.items()
    }


def _entries(found: dict[int, Any], cell: Cell) -> list[float]:
    which = cell.settings
    rates = found.setdefault(which["steps"], {}).setdefault(which["name"], {})
    return rates.setdefault(which["lr"], [])


def _best(name: str, steps: int, rates: dict[float, list[float]], lowest: bool) -> float:
    if len({len(values) for values in rates.values()}) > 1:
        counts = ", ".join(f"{lr:g}: {len(values)}" for lr, values in rates.items())
        raise ValueError(
            f"The rates of {at_length(name, steps)!r} were run with different numbers of seeds "
            f"({counts}), and must have the same to be compared. Run the search to its end."
        )
    return (min if lowest else max)(rates, key=lambda lr: mean(rates[lr]))
