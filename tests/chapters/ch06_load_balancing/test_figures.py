"""What the figures about the balance of a router say in words and numbers."""

import numpy as np
import pytest

from moe_teach.chapters.ch06_load_balancing.figures import (
    Price,
    load_over_training,
    over_time,
    push_per_expert,
    smoothed,
    trade_off,
)
from moe_teach.chapters.ch06_load_balancing.text_figures import (
    Course,
    likeness_and_dead,
    utilisation,
)
from moe_teach.plots.style import MAX_BYTES, to_png


@pytest.fixture
def counts():
    even = np.full((90, 4), 8)
    collapsed = np.tile([31, 1, 0, 0], (90, 1))
    return {"even": even, "collapsed": collapsed}


@pytest.fixture
def stacked(counts):
    return load_over_training(counts, {"even": "4 of 4 alive", "collapsed": "1 of 4 alive"})


def test_a_window_holds_shares_that_sum_to_one(counts):
    steps, loads = smoothed(counts["collapsed"], n_windows=40)

    assert len(steps) == 40 and steps[0] < steps[-1] < 90
    np.testing.assert_allclose(loads.sum(axis=1), 1)
    np.testing.assert_allclose(loads[0], [31 / 32, 1 / 32, 0, 0])


def test_a_short_run_has_one_window_for_each_step():
    steps, _ = smoothed(np.ones((3, 2)))

    assert steps.tolist() == [0, 1, 2]


def test_bands_are_named_where_there_is_room(stacked):
    named = [[text.get_text() for text in axes.texts] for axes in stacked.axes[:2]]

    assert named == [["0", "1", "2", "3"], ["0"]]


def test_every_panel_says_how_its_run_ended(stacked):
    assert stacked.axes[0].get_title() == "even\n4 of 4 alive"


def test_panels_without_a_method_are_not_shown():
    four = {name: np.ones((5, 2)) for name in "abcd"}
    drawing = load_over_training(four, dict.fromkeys(four, ""))

    assert [axes.get_visible() for axes in drawing.axes] == [True] * 4 + [False] * 2


def test_every_strength_is_labelled_and_every_anchor_named():
    prices = {"Switch loss": [Price(s, [3 - s, 3], [0.5, 0.6 + s / 10]) for s in (0.1, 1.0)]}
    drawing = trade_off(prices, {"one expert": [0.4, 0.5]})
    texts = [text.get_text() for text in drawing.axes[0].texts]

    assert texts == ["0.1", "1", "one expert"]
    assert drawing.axes[0].get_xlabel() and drawing.axes[0].get_ylabel()
    assert len(to_png(drawing)) <= MAX_BYTES


@pytest.fixture
def courses():
    dead, violation = np.array([[4, 2], [5, 3], [6, 1]]), np.ones((3, 2))
    live = ([10, 20], [5, 2], [1.5, 1.0])
    return {
        "none": Course([10, 20], dead, violation, [2.3, 2.4, 2.35], live),
        "bias": Course([10, 20], dead // 3, violation / 2, [2.3, 2.4, 2.35]),
    }


def test_the_mean_is_drawn_with_markers_and_the_own_run_dashed(courses):
    left = utilisation(courses, 8).axes[0]
    by_style = {line.get_linestyle(): line for line in left.lines}

    assert [line.get_label() for line in left.lines if line.get_marker() != "None"] == [
        "none",
        "bias",
    ]
    np.testing.assert_allclose(by_style["-"].get_xdata(), [10, 20])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [5, 2])
    assert sum(line.get_linestyle() == "--" for line in left.lines) == 1


def test_losses_show_every_seed(courses):
    right = utilisation(courses, 8).axes[2]

    assert [len(line.get_xdata()) for line in right.lines] == [3, 3]
    assert [label.get_text() for label in right.get_yticklabels()] == ["none", "bias"]


def test_likeness_shows_every_seed_thin_and_the_mean_with_markers():
    tables = {"none": np.array([[0.2, 0.9], [0.4, 0.7]]), "loss": np.array([[0.2, 0.8]] * 2)}
    top, bottom = likeness_and_dead([1, 15], tables, tables).axes
    means = [line for line in top.lines if line.get_marker() != "None"]

    assert len(top.lines) == len(bottom.lines) == 6
    assert [line.get_label() for line in means] == ["none", "loss"]
    np.testing.assert_allclose(means[0].get_ydata(), [0.3, 0.8])
    assert top.get_ylabel() and bottom.get_xlabel() and bottom.get_ylabel()


def test_axes_are_labelled_and_figures_small(stacked, courses):
    push = push_per_expert([0.7, 0.3], [-0.1, 0.1])
    several = utilisation(courses, 8)

    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in push.axes)
    assert all(axes.get_xlabel() for axes in several.axes)
    assert stacked.axes[0].get_ylabel()
    for drawing in (stacked, push, several):
        assert len(to_png(drawing)) <= MAX_BYTES


def test_every_mark_is_in_a_legend(courses):
    tables = {"none": np.array([[0.2, 0.9], [0.4, 0.7]])}
    prices = {"Switch loss": [Price(1.0, [2, 3], [0.5, 0.7])]}

    def legend(drawing):
        return " ".join(text.get_text() for text in drawing.legends[0].get_texts())

    said = legend(utilisation(courses, 8))
    assert all(word in said for word in ("none", "bias", "range of the", "your run", "mean loss"))
    said = legend(likeness_and_dead([1, 15], tables, tables))
    assert "none" in said and "one seed" in said
    said = legend(trade_off(prices, {}))
    assert all(word in said for word in ("median", "range", "compare"))


def test_figures_bring_their_own_words_with_their_numbers(stacked, courses):
    tables = {"none": np.array([[0.2, 0.9], [0.4, 0.7]])}
    prices = {"Switch loss": [Price(1.0, [2, 3], [0.5, 0.7])]}
    curves = {"as it is": [[1, 2, 3], [4, 4, 5]]}

    assert "collapsed: 1 of 4 alive" in stacked.get_gid()
    assert "expert 1 has most" in push_per_expert([0.1, 0.9], [0.1, -0.1]).get_gid()
    assert "at 1 MaxVio 2.5, accuracy 0.60" in trade_off(prices, {}).get_gid()
    assert "as it is 2, 4" in over_time((500, 1500), "in use", curves).get_gid()
    assert "none: 2.0 dead, MaxVio 1.0, loss 2.350" in utilisation(courses, 8).get_gid()
    assert "none: cosine 0.30, 0.80" in likeness_and_dead([1, 15], tables, tables).get_gid()
