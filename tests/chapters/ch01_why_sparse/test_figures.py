"""The figures of chapter 01 show every model, every curve, and stay within their budget."""

import numpy as np
import pytest

from moe_teach.catalog import ARTICLE_MODEL, CATALOG
from moe_teach.chapters.ch01_why_sparse.cost_figures import (
    bars_figure,
    break_even_figure,
    lines_figure,
)
from moe_teach.chapters.ch01_why_sparse.figures import catalog_figure, points_of, promise_figure
from moe_teach.cost import n_params_active, n_params_total
from moe_teach.plots.style import MAX_BYTES, to_png


@pytest.fixture(scope="module")
def points():
    return points_of(CATALOG.values())


def _texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_point_carries_the_counts_of_its_model(points):
    point = next(p for p in points if p.name == "Mixtral 8x7B")
    config = CATALOG["Mixtral 8x7B"].config
    assert (point.total, point.active) == (n_params_total(config), n_params_active(config))
    assert point.routed == 0.25
    assert not point.is_dense


def test_dense_models_stand_on_the_diagonal(points):
    dense = [point for point in points if point.is_dense]
    assert [point.name for point in dense] == ["Mistral 7B", "Llama-3.1 70B"]
    assert all(point.total == point.active and point.routed == 1.0 for point in dense)


def test_every_model_is_named_once_and_no_two_names_meet(points):
    drawing = catalog_figure(points, ARTICLE_MODEL.name)
    left = drawing.axes[0]
    assert sorted(_texts(left)) == sorted(CATALOG)
    drawing.draw_without_rendering()
    boxes = [text.get_window_extent() for text in left.texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert left.bbox.x0 < box.x0 and box.x1 < left.bbox.x1


def test_the_second_panel_shows_what_sharing_does_to_one_eighth(points):
    right = catalog_figure(points, ARTICLE_MODEL.name).axes[1]
    assert {"1/8.0", "1/5.9", "1/4.7", "1/3.3"} <= set(_texts(right))


def test_the_promise_is_drawn_left_of_the_truth_for_every_sparse_model(points):
    axes = promise_figure(points).axes[0]
    promised, true = (np.asarray(marks.get_offsets())[:, 0] for marks in axes.collections[1:])
    assert len(true) == sum(not point.is_dense for point in points)
    assert (promised < true).all()


def test_bars_carry_their_values_and_their_unit():
    axes = bars_figure(["small", "big"], {"memory (GB)": [24.0, 144.0]}).axes[0]
    assert axes.get_ylabel() == "memory (GB)"
    assert _texts(axes) == ["24", "144"]


def test_curves_of_one_panel_differ_in_marker_and_have_a_name():
    curves = {"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]}
    drawing = lines_figure((1, 2, 4), {"ratio": curves}, ["Title"])
    first, second = drawing.axes[0].lines
    assert first.get_marker() != second.get_marker()
    assert [line.get_label() for line in (first, second)] == ["a", "b"]


def test_a_break_even_beyond_the_figure_is_not_marked():
    hours = [0.0, 100.0]
    usd = {"buy": [10.0, 20.0], "rent": [0.0, 40.0], "rent little": [0.0, 1.0]}
    axes = break_even_figure(hours, usd, {"rent": 33.0, "rent little": float("inf")}).axes[0]
    assert _texts(axes) == ["33 h"]


def test_figures_stay_within_the_budget_of_a_page(points):
    drawings = (catalog_figure(points, ARTICLE_MODEL.name), promise_figure(points))
    assert all(len(to_png(drawing)) <= MAX_BYTES for drawing in drawings)


def test_marks_and_lines_of_the_catalog_have_a_legend(points):
    legend = catalog_figure(points, ARTICLE_MODEL.name).axes[0].get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert {"sparse", "dense", "the puzzle of this chapter"} <= set(names)


def test_a_curve_is_told_with_its_ends_and_its_turn():
    drawing = lines_figure((1, 8, 64), {"ratio": {"a": [1.0, 6.0, 2.0]}}, ["Times"])
    assert "Times, ratio: a from 1 at 1 over 6 at 8 to 2 at 64" in drawing.get_gid()


def test_every_figure_carries_its_own_words(points):
    hours = [0.0, 100.0]
    usd = {"buy": [10.0, 20.0], "rent": [0.0, 40.0]}
    drawings = (
        catalog_figure(points, ARTICLE_MODEL.name),
        promise_figure(points),
        bars_figure(["small\nmodel", "big"], {"memory (GB)": [24.0, 144.0]}),
        break_even_figure(hours, usd, {"rent": 33.0, "rent little": float("inf")}),
    )
    words = [drawing.get_gid() for drawing in drawings]
    assert f"{len(points)} models" in words[0]
    assert f"{sum(not p.is_dense for p in points)} sparse models" in words[1]
    assert words[2] == "Bar charts. memory (GB): 24 for small model, 144 for big."
    assert words[3].endswith("rent after 33 hours, rent little never.")
