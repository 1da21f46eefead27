"""The figure of several lengths shows every seed, and the medians that a line joins."""

import pytest

from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import to_png

CURVES = {"early": [[1.0, 3.0, 2.0], [4.0, 4.0, 5.0]], "stops": [[7.0, 9.0]]}


def test_the_line_joins_the_medians_and_every_seed_is_a_mark():
    (ax,) = over_lengths((10, 100), {"bits": CURVES}).axes
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    marks = [line for line in ax.lines if line.get_label().startswith("_")]

    assert list(lines["early"].get_ydata()) == [2.0, 4.0]
    assert list(lines["stops"].get_ydata()) == [8.0]
    assert sorted(y for mark in marks for y in mark.get_ydata()) == [1, 2, 3, 4, 4, 5, 7, 9]


def test_panels_name_what_they_show_and_their_steps():
    drawing = over_lengths((900, 9000), {"bits": CURVES, "error": CURVES}, logarithmic=["error"])
    bits, error = drawing.axes

    assert (bits.get_yscale(), error.get_yscale()) == ("linear", "log")
    assert [tick.get_text() for tick in bits.get_xticklabels()] == ["900", "9,000"]
    assert (bits.get_ylabel(), error.get_ylabel()) == ("bits", "error")
    assert to_png(drawing)


def test_more_lists_than_lengths_are_refused():
    with pytest.raises(ValueError):
        over_lengths((10,), {"bits": CURVES})


def test_the_legend_of_many_long_names_stays_inside_the_figure():
    names = [f"dense, same FLOPs as 64 experts with router {i}" for i in range(8)]
    drawing = over_lengths((10, 100), {"bits": dict.fromkeys(names, CURVES["early"])})
    drawing.canvas.draw()
    (legend,), (width, height) = drawing.legends, drawing.canvas.get_width_height()
    box = legend.get_window_extent()

    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert not box.overlaps(drawing.axes[0].get_window_extent())
