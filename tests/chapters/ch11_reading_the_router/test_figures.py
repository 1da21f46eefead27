"""The figures of chapter 11 say what they were given, in words and marks and not colour alone."""

import pytest

from moe_teach.chapters.ch11_reading_the_router.figures import (
    Bits,
    over_layers,
    turned_away,
    use_and_need,
    workers,
)
from moe_teach.plots.style import MAX_BYTES, to_png

COUNTS = [[8, 2], [1, 9], [5, 5]]
ROWS = {"trained": Bits([[0.4, 0.6], [0.5, 0.7]], [0.45, 0.65]), "chance": Bits([[0.0, 0.01]])}
LOAD, DAMAGE = [[0.5, 0.3, 0.2]], [[0.0, 0.1, 0.4]]
DROPS = {"rare": [[0.1, 0.5], [0.2, 0.6]], "nobody rare": [[0.1, 0.2]]}


def test_experts_are_sorted_by_the_domain_they_serve_most() -> None:
    axes = workers(COUNTS, ("code", "sums"), "last layer").axes[0]

    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "1"]
    assert [bar.get_height() for bar in axes.patches[:3]] == pytest.approx([0.8, 0.5, 0.1])
    assert len({bar.get_hatch() for bar in axes.patches}) == 2


def test_an_expert_without_work_is_an_empty_bar() -> None:
    axes = workers([[0, 0], [1, 1]], ("a", "b"), "t").axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == [0, 0, 0.5, 0.5]


def test_lines_are_medians_bands_the_range_and_dashes_the_readers_run() -> None:
    axes = over_layers(ROWS, "bits").axes[0]

    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert list(solid[0].get_ydata()) == pytest.approx([0.45, 0.65])
    assert [list(line.get_ydata()) for line in axes.lines if line not in solid] == [[0.45, 0.65]]
    assert len({line.get_marker() for line in solid}) == 2
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.4, 0.7))


def test_every_expert_is_a_mark_at_its_load_and_its_damage() -> None:
    axes = use_and_need(LOAD, DAMAGE).axes[0]
    (marks,) = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert list(marks.get_xdata()) == LOAD[0]
    assert list(marks.get_ydata()) == DAMAGE[0]


def test_drops_are_means_over_seeds_and_the_readers_run_stands_over_the_first() -> None:
    axes = turned_away(DROPS, ("code", "sums"), [0.3, 0.4]).axes[0]

    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.15, 0.55, 0.1, 0.2])
    (own,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert list(own.get_ydata()) == [0.3, 0.4]


@pytest.mark.parametrize(
    ("drawing", "said"),
    [
        (workers(COUNTS, ("code", "sums"), "t"), "expert 1 sums 90%"),
        (over_layers(ROWS, "bits"), "trained: 0.45, 0.65"),
        (use_and_need(LOAD, DAMAGE), "busiest 0, most needed 2 with 0.400 nats"),
        (turned_away(DROPS, ("code", "sums"), [0, 0]), "nobody rare: code 0.10, sums 0.20"),
    ],
)
def test_figures_say_in_words_what_they_show_and_stay_light(drawing, said) -> None:
    assert said in drawing.get_gid()
    assert len(to_png(drawing)) < MAX_BYTES
