"""The loss axes rank as NumPy does, and refuse curves that cannot be drawn."""

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from moe_teach.widgets.curve_record import AXES, Place, furthest
from moe_teach.widgets.loss_axes import Curve, LossAxes


def curve(name: str = "a", seed: int = 0, **changes: Any) -> Curve:
    given = {"steps": [0, 10, 40], "loss": [4.0, 3.0, 2.0]}
    prices = {"flops_per_step": 2e9, "seconds_per_step": 0.5}
    return Curve(name=name, seed=seed, **(given | prices | changes))


def some_curves() -> list[Curve]:
    rng = np.random.default_rng(0)
    return [
        curve(
            f"run {price}",
            seed,
            steps=[0, 7, 20, 41],
            loss=np.sort(rng.uniform(1, 4, 4))[::-1].round(3).tolist(),
            flops_per_step=1e9 * price,
            seconds_per_step=0.1 * price * (1 + 0.01 * seed),
        )
        for price in (1, 2, 5)
        for seed in range(3)
    ]


@pytest.mark.parametrize("axis", AXES)
def test_the_browser_ranks_as_python_does(axis: str, in_node: Callable) -> None:
    curves = some_curves()
    widget = LossAxes.of(curves)
    widget.axis = axis
    most = furthest(curves, axis)
    budgets = [min(widget.budget * share, most) for share in (0.2, 0.7, 1.0, 2.3)]
    runs = [
        {
            "name": c.name,
            "seed": c.seed,
            "steps": c.steps,
            "losses": c.loss,
            "perStep": {name: c.per_step(name) for name in AXES},
        }
        for c in widget.curves()
    ]

    answers = in_node(
        "loss_axes",
        "m.ranking(given.runs, given.axis, given.budget).places.map("
        "(p) => [p.name, p.mean, p.low, p.high, p.nSeeds, p.versusBetter])",
        [{"runs": runs, "axis": axis, "budget": budget} for budget in budgets],
    )

    for budget, answer in zip(budgets, answers, strict=True):
        widget.budget = budget
        expected = [astuple(place) for place in widget.ranking()]
        assert [row[0] for row in answer] == [row[0] for row in expected]
        assert [row[4:] for row in answer] == [list(row[4:]) for row in expected]
        numbers = [row[1:4] for row in answer]
        assert np.allclose(numbers, [row[1:4] for row in expected], atol=1e-6)


def test_the_loss_at_a_budget_is_read_between_two_points() -> None:
    widget = LossAxes.of([curve()], axis="seconds", budget=12.5)

    assert widget.ranking() == [Place("a", 2.5, 2.5, 2.5, 1, "first")]
    assert "1. a with 2.500" in widget.words()


def test_seeds_whose_ranges_overlap_are_no_order() -> None:
    runs = [curve("a", 0), curve("a", 1, loss=[4.0, 3.0, 2.4])]
    runs += [curve("b", 0, loss=[4.0, 3.0, 2.3]), curve("b", 1, loss=[4.0, 3.0, 2.5])]
    widget = LossAxes.of(runs)

    assert [place.versus_better for place in widget.ranking()] == ["first", "inside"]
    assert "inside the seed spread" in widget.words()


def test_another_axis_begins_where_every_run_has_arrived() -> None:
    widget = LossAxes.of([curve("a"), curve("b", seconds_per_step=0.1)])

    assert widget.budget == 40
    widget.axis = "seconds"
    assert widget.budget == pytest.approx(4)
    widget.budget = 1000
    assert widget.budget == pytest.approx(20), "no run went further"


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive finite number of steps"):
        LossAxes.of([curve()]).budget = 0.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": [1.0, 2.0]}, "3 steps and 2 losses"),
        ({"steps": [0], "loss": [1.0]}, "at least two"),
        ({"steps": [0, 40, 10]}, "steps that rise"),
        ({"loss": [4.0, float("nan"), 2.0]}, "no finite number"),
        ({"seconds_per_step": 0}, "positive finite seconds_per_step"),
    ],
)
def test_a_curve_that_cannot_be_drawn_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        curve(**changes)


def test_too_little_too_much_and_the_same_seed_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one curve"):
        LossAxes.of([])
    with pytest.raises(ValueError, match="two curves with the same seed"):
        LossAxes.of([curve(), curve()])
    with pytest.raises(ValueError, match="room for 8 names"):
        LossAxes.of([curve(str(number)) for number in range(9)])


def test_the_example_says_that_it_is_invented() -> None:
    assert "invented" in LossAxes().words()
    assert "invented" in LossAxes().html()
    assert LossAxes().html() == LossAxes().html()
