"""What the figures about modern layers say in words, marks and numbers."""

import pytest

from moe_teach.chapters.ch07_modern_moe.figures import (
    designs,
    granularity,
    layer_picture,
    lengths,
    scopes,
)
from moe_teach.plots.style import MAX_BYTES, to_png

FINER = {
    "8 top-1": [45.0, 45.5, 46.0],
    "16 top-2": [47.0, 47.5, 47.2],
    "32 top-4": [47.0, 47.1, 46],
}
ANCHORS = {"dense, same active": [12.0, 13.0], "dense, same total": [40.0, 42.0]}


@pytest.fixture
def signature():
    beside = {"31 top-3 + 1 shared": (5.6, [46.7, 46.8, 46.9])}
    return granularity(FINER, ANCHORS, beside, yours={"16 top-2": 47.3}, full=98.3)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_signature_shows_every_seed_of_every_granularity(signature):
    left, right = signature.axes

    for axes in (left, right):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [list(line.get_ydata()) for line in dots] == list(FINER.values())


def test_dense_layers_are_named_in_the_picture_and_hatched(signature):
    left = signature.axes[0]

    assert set(ANCHORS) <= set(texts(left))
    assert all(patch.get_hatch() for patch in left.patches)


def test_the_readers_own_run_is_a_star_where_it_belongs(signature):
    stars = [line for line in signature.axes[1].lines if line.get_marker() == "*"]

    assert [(list(s.get_xdata()), list(s.get_ydata())) for s in stars] == [([2], [47.3])]


def test_the_magnified_half_says_that_its_axis_does_not_start_at_zero(signature):
    left, right = signature.axes

    assert left.get_ylim()[0] == 0
    assert right.get_ylim()[0] > 40
    assert "does not start at 0" in right.get_ylabel()


def test_the_signature_also_draws_without_a_run_of_the_reader():
    assert len(to_png(granularity(FINER, ANCHORS))) <= MAX_BYTES


def test_designs_are_listed_from_the_top_beside_what_they_stored_at_one_rate():
    own = {"a": [20.0, 20.0], "b": [10.0, 11.0], "c": [5.0]}
    drawing = designs(own, {"a": 9.0, "b": 8.0}, groups=(1,), full=98.3)
    (axes,) = drawing.axes

    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert texts(axes) == ["20.0", "10.5", "5.0"]
    assert axes.yaxis_inverted()
    hollow = [line for line in axes.lines if line.get_marker() == "D"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in hollow] == [(9.0, 0), (8.0, 1)]


def test_every_mark_of_the_designs_and_of_the_signature_is_in_a_legend(signature):
    drawing = designs({"a": [20.0]}, {"a": 9.0}, groups=(), full=98.3)
    for axes in (drawing.axes[0], signature.axes[1]):
        marks = {line.get_marker() for line in axes.lines} - {"None"}
        explained = {handle.get_marker() for handle in axes.get_legend().legend_handles}
        assert marks <= explained


def test_every_design_of_the_signature_stands_above_a_tick_of_its_own(signature):
    axes = signature.axes[1]
    ticks = {round(float(place), 3) for place in axes.get_xticks()}

    marked = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert {round(float(x), 3) for line in marked for x in line.get_xdata()} == ticks
    assert len(axes.get_xticklabels()) == len(ticks) == 4


def test_lengths_say_the_medians_in_their_alternative_text():
    drawing = lengths((10, 30), {"a": [[1.0, 2.0, 9.0], [4.0]], "b": [[3.0]]}, full=98.3)

    assert drawing.get_gid().endswith("after 10, 30 steps: a 2.0, 4.0; b 3.0.")
    assert "98.3" in drawing.axes[0].get_ylabel()


def test_scopes_compare_losses_seed_by_seed():
    bits = {"batch": [[0.3, 0.5], [0.4, 0.6]], "sequence": [[0.2, 0.1], [0.1, 0.2]]}
    losses = {"batch": [2.0, 2.1], "sequence": [2.03, 2.11]}
    drawing = scopes(bits, {"untrained": 0.1, "shuffled": 0.02}, losses, "batch")
    left, right = drawing.axes

    gaps = [line for line in right.lines if line.get_marker() not in ("None", None, "")]
    assert [round(float(x), 3) for x in gaps[0].get_xdata()] == [0.03, 0.01]
    assert [label.get_text() for label in right.get_yticklabels()] == ["sequence"]
    assert {line.get_label() for line in left.lines} >= {*bits, "untrained", "shuffled"}


@pytest.mark.parametrize(("n_experts", "top_k", "n_shared"), [(8, 1, 0), (31, 3, 1), (512, 64, 0)])
def test_a_layer_shows_as_many_chosen_and_shared_experts_as_it_has(n_experts, top_k, n_shared):
    (axes,) = layer_picture(n_experts, top_k, n_shared, 16, ["a fact"]).axes

    hatches = [patch.get_hatch() for patch in axes.patches]
    assert len(hatches) == n_experts + n_shared
    assert hatches.count("///") == top_k
    assert hatches.count("...") == n_shared
    assert "a fact" in texts(axes)


def test_all_experts_chosen_is_drawn_too():
    (axes,) = layer_picture(3, 3, 0, 4).axes

    assert [patch.get_hatch() for patch in axes.patches] == ["///"] * 3


def test_pictures_fit_the_budget_and_have_labels(signature):
    for axes in signature.axes:
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
    assert len(to_png(signature)) <= MAX_BYTES
