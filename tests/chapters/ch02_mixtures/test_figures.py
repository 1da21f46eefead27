"""The figures of chapter 02 show what they are given, for any number of seeds."""

import numpy as np
import pytest

from moe_teach.chapters.ch02_mixtures.figures import (
    draw_map,
    error_by_k,
    paint,
    regions_and_errors,
    strips,
)
from moe_teach.plots.style import figure, to_png

HALVES = np.repeat([[0, 0, 0, 1, 1, 1]], 6, axis=0)


def texts(axes: object) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_every_owner_of_more_than_a_sliver_is_labelled() -> None:
    _, axes = figure()
    owner = np.zeros((30, 30), dtype=int)
    owner[:, 20:] = 7
    owner[0, 0] = 3  # one place in nine hundred

    draw_map(axes, owner, {0: 1, 7: 2, 3: -1})

    assert texts(axes) == {"0", "7"}


def test_names_replace_numbers() -> None:
    _, axes = figure()

    draw_map(axes, HALVES, {0: 0, 1: 1}, {0: "A", 1: "B"})

    assert texts(axes) == {"A", "B"}


def test_a_bent_region_is_labelled_inside_itself() -> None:
    _, axes = figure()
    owner = np.zeros((31, 31), dtype=int)
    owner[5:26, 5:26] = 1  # expert 0 owns a frame whose middle belongs to expert 1

    draw_map(axes, owner, {0: 0, 1: 1})

    (frame,) = [text for text in axes.texts if text.get_text() == "0"]
    column, row = (round((value + 1) * 15) for value in frame.get_position())
    assert owner[row, column] == 0


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_the_signature_figure_draws_one_line_per_seed(n_seeds: int) -> None:
    errors = {"cooperative": (np.full(n_seeds, 0.2), np.full(n_seeds, 2.0))}
    scores = {"cooperative": np.tile([[0.4], [0.8]], (1, n_seeds))}

    drawing = regions_and_errors(HALVES, {"step 0": (HALVES, [0, 1])}, (0, 10), scores, errors)

    pairs = drawing.axes[-1]
    assert len([line for line in pairs.lines if len(line.get_xdata()) == 2]) >= n_seeds
    assert len(to_png(drawing)) < 150_000


def test_pictures_are_clipped_and_stand_side_by_side() -> None:
    drawing = paint({"one": np.full((4, 4, 3), 7.0), "two": np.full((4, 4, 3), -1.0)})

    assert [axes.get_title() for axes in drawing.axes] == ["one", "two"]
    assert drawing.axes[0].images[0].get_array().max() == 1.0


def test_strips_mark_every_seed_and_the_median() -> None:
    drawing = strips({"a": np.array([0.1, 0.2, 0.9]), "b": np.array([0.5])}, "score", (0, 1))

    assert sorted(len(line.get_xdata()) for line in drawing.axes[0].lines) == [1, 3]


def test_the_error_by_k_names_every_k() -> None:
    drawing = error_by_k((1, 2, 12), {"likelihood": np.ones((3, 2))})

    assert [int(tick) for tick in drawing.axes[0].get_xticks()] == [1, 2, 12]
