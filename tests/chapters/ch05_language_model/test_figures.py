"""What the figures that compare runs say in marks and words."""

import pytest
from matplotlib.figure import Figure

from moe_teach.chapters.ch05_language_model.figures import (
    Runs,
    gains,
    ladder,
    loss_by_experts,
    three_axes,
)
from moe_teach.plots.style import MAX_BYTES, to_png

STEPS = list(range(50, 801, 50))


def runs(name: str, level: float, price: float = 1.0, n_seeds: int = 3) -> Runs:
    losses = [[level + 100 / (step + 20 * seed) for step in STEPS] for seed in range(n_seeds)]
    return Runs(
        name=name,
        steps=STEPS,
        losses=losses,
        flops_per_step=4e8 * price,
        seconds_per_step=0.03 * price,
    )


@pytest.fixture
def compared() -> list[Runs]:
    return [runs("dense", 2.0), runs("16 experts", 1.6, 1.4), runs("dense, wide", 1.5, 2.0)]


@pytest.fixture
def panels(compared) -> Figure:
    mine = Runs(
        name="16 experts",
        steps=STEPS[:4],
        losses=[[4.0, 3.0, 2.5, 2.2]],
        flops_per_step=5e8,
        seconds_per_step=0.05,
    )
    return three_axes(compared, [mine])


def test_the_three_panels_show_the_same_losses_at_other_places(panels):
    lines = [axes.lines[1] for axes in panels.axes]

    assert len(panels.axes) == 3
    assert all((line.get_ydata() == lines[0].get_ydata()).all() for line in lines)
    assert [round(float(line.get_xdata()[-1]), 3) for line in lines] == [800, 0.448, 33.6]


def test_every_panel_says_what_its_axis_is(panels):
    words = [axes.get_xlabel() for axes in panels.axes]

    assert "steps" in words[0] and "FLOPs" in words[1] and "seconds" in words[2]
    assert "nats" in panels.axes[0].get_ylabel()


def test_models_differ_by_marker_and_line_and_not_only_by_colour(panels, compared):
    drawn = panels.axes[0].lines[: len(compared)]

    assert len({line.get_marker() for line in drawn}) == len(compared)
    assert len({line.get_linestyle() for line in drawn}) == len(compared)


def test_the_readers_run_ends_in_a_star(panels):
    assert [line.get_marker() for line in panels.axes[0].lines].count("*") == 1


def test_a_live_run_without_a_stored_one_is_refused(compared):
    with pytest.raises(ValueError, match="not in list"):
        three_axes(compared, [runs("another", 1.0)])


def test_the_ladder_writes_every_rung_and_marks_every_seed():
    drawing = ladder({"uniform": 5.545, "bigram": 2.5, "model": [1.9, 2.0, 2.1]})
    axes = drawing.axes[0]

    assert [text.get_text() for text in axes.texts] == ["5.54", "2.50", "2.00"]
    assert [len(line.get_xdata()) for line in axes.lines] == [3]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["uniform", "bigram", "model"]


def test_numbers_of_experts_stand_on_a_doubling_axis_with_all_seeds():
    losses = {1: [2.0, 1.9, 2.1], 2: [1.9, 1.8, 1.8], 32: [1.5, 1.4, 1.6]}
    drawing = loss_by_experts(losses, {"dense, wide": [1.5, 1.6]}, live={1: 2.0, 32: 1.5})
    axes = drawing.axes[0]

    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "32"]
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o") == 9
    assert [text.get_text() for text in axes.texts] == ["dense, wide"]


def test_gains_share_one_axis_and_draw_zero():
    group = {"16 experts": ([0.1, 0.2, 0.3], 0.2), "hash": ([0.4, 0.5, 0.6], 0.1)}
    drawing = gains({"facts": group, "sums": group})

    first, second = drawing.axes
    assert first.get_ylim() == second.get_ylim()
    assert [0, 0] in [list(line.get_ydata()) for line in first.lines]
    assert [axes.get_title() for axes in drawing.axes] == ["facts", "sums"]


def test_every_figure_fits_its_budget(panels):
    group = {"a": ([0.1, 0.2], 0.2)}
    for drawing in (
        panels,
        ladder({"uniform": 5.5}),
        loss_by_experts({1: [2.0], 2: [1.0]}, {}),
        gains({"facts": group}),
    ):
        assert len(to_png(drawing)) <= MAX_BYTES
