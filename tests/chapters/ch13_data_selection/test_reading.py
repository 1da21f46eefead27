"""When a run is as good as another one's end, and what it has spent until then."""

import numpy as np
import pytest

from moe_teach.chapters.ch13_data_selection.experiments.reading import price, prices, reached
from moe_teach.train.experiment import Cell, Grid


def cell(name: str, seed: int, **result: object) -> Cell:
    return Cell(name, seed, {}, result, 0.0, 0.0, {})


def plain(seed: int, *, loss: tuple[float, ...] = (3.0, 2.0)) -> Cell:
    """A uniform run: 20 steps of 100 operations, in 4 seconds."""
    marks = {"steps": [10.0, 20.0], "cpu_seconds": [2.0, 4.0]}
    bill = {"flops_per_step": 100, "reference_flops": 500}
    return cell("uniform", seed, loss=list(loss), **marks, **bill)


def choosing(seed: int, *, loss: tuple[float, ...] = (2.5, 1.5)) -> Cell:
    """A run that chooses: its steps are two and a half times as dear, and slower."""
    marks = {"steps": [10.0, 20.0], "cpu_seconds": [3.0, 6.0]}
    bill = {"flops_per_step": 250, "reference_flops": 500}
    return cell("choosing", seed, loss=list(loss), **marks, **bill)


@pytest.mark.parametrize("lowest", [True, False])
def test_a_curve_is_as_good_where_a_walk_along_it_first_meets_the_target(lowest: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        marks = np.cumsum(rng.uniform(1, 9, size=6)).tolist()
        values = rng.normal(size=6).tolist()
        target = float(rng.normal())
        walk = np.linspace(marks[0], marks[-1], 20_001)
        heights = np.interp(walk, marks, values)
        there = walk[heights <= target if lowest else heights >= target]
        found = reached(marks, values, target, lowest=lowest)
        if len(there) == 0:
            assert found is None
        else:
            assert found == pytest.approx(there[0], abs=(marks[-1] - marks[0]) / 10_000)


def test_edges_of_a_curve_count() -> None:
    assert reached([10.0], [2.0], 2.0, lowest=True) == 10  # one mark, just there
    assert reached([10.0, 20.0], [3.0, 2.0], 2.0, lowest=True) == 20
    assert reached([10.0, 20.0, 30.0], [3.0, 2.0, 2.0], 2.0, lowest=True) == 20  # the first time
    assert reached([10.0, 20.0], [3.0, 2.0], 1.9, lowest=True) is None
    assert reached([10.0, 20.0, 30.0], [3.0, 1.0, 3.0], 2.0, lowest=True) == 15  # lost again: still


def test_a_price_is_a_share_of_what_uniform_spent_in_all() -> None:
    # 2.0 is met half way between 10 and 20 steps, at 4.5 seconds.
    found = price(choosing(0), plain(0), "loss", lowest=True)
    assert found == (15 / 20, 15 * 250 / 2000, 4.5 / 4.0, (15 * 250 + 500) / 2000)


def test_uniform_costs_itself_and_no_reference() -> None:
    assert price(plain(0), plain(0), "loss", lowest=True) == (1, 1, 1, 1)


def test_who_never_gets_there_has_no_price() -> None:
    late = choosing(0, loss=(2.5, 2.1))
    assert price(late, plain(0), "loss", lowest=True) == (None,) * 4


def test_each_run_is_compared_with_the_uniform_one_of_its_seed() -> None:
    grid = Grid((plain(1, loss=(3.0, 2.5)), choosing(0), plain(0), choosing(1)))
    found = prices(grid, "choosing", "uniform", "loss", lowest=True)
    assert [one.steps for one in found] == [15 / 20, 10 / 20]
