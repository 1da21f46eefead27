"""The figures of chapter 14 say what they were given, in words and marks and not colour alone."""

import pytest

from moe_teach.chapters.ch14_memory.figures import awake, by_load, guessed, speed
from moe_teach.plots.style import MAX_BYTES, to_png

RATES = {
    "LRU": {"code": [0.4, 0.5], "four users": [0.1, 0.2]},
    "pinned": {"code": [0.2, 0.3]},
}
WOKEN = {"code": [2.0, 9.0], "formula": [2.0, 11.0]}
RECALLS = {"early": [0.7, 0.8], "favourites": [0.3, 0.4]}
RATE, SPEEDS = [0.0, 0.5, 1.0], {"A": [1, 2, 8], "B": [0.5, 1, 4]}


def _speed():
    return speed([i / 12 for i in range(13)], {"A": list(range(1, 14))}, {"ours": 0.5})


def test_every_policy_has_a_mark_of_its_own_and_every_text_a_dot() -> None:
    axes = by_load(RATES, 0.25, "hit rate").axes[0]
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    dots = [line for line in axes.lines if line.get_marker() == "."]

    assert [line.get_label() for line in named] == ["LRU", "pinned"]
    assert len({line.get_marker() for line in named}) == 2
    assert sum(len(line.get_xdata()) for line in dots) == 6
    assert list(named[0].get_ydata()) == pytest.approx([0.45, 0.15])


def test_loads_stand_side_by_side_and_the_share_that_fits_is_drawn() -> None:
    axes = by_load(RATES, 0.25, "hit rate").axes[0]

    assert [label.get_text() for label in axes.get_xticklabels()] == ["code", "four users"]
    assert any(list(line.get_ydata()) == [0.25, 0.25] for line in axes.lines)
    assert axes.get_ylabel() == "hit rate"


def test_the_formula_is_a_line_without_marks() -> None:
    axes = awake([1, 16], WOKEN, 16, "formula").axes[0]
    by_name = {line.get_label(): line for line in axes.lines}

    assert by_name["code"].get_marker() != "None" and by_name["formula"].get_marker() == "None"
    assert list(by_name["formula"].get_ydata()) == [2, 11]


def test_guesses_have_a_bar_for_each_layer_and_way() -> None:
    axes = guessed(RECALLS, 0.125).axes[0]

    assert [len(bars) for bars in axes.containers] == [2, 2]
    assert len({bars[0].get_hatch() for bars in axes.containers}) == 2
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_speeds_carry_the_hit_rates_to_compare_with() -> None:
    axes = _speed().axes[0]

    assert axes.get_yscale() == "log"
    assert [text.get_text().strip() for text in axes.texts] == ["ours"]


@pytest.mark.parametrize(
    ("drawing", "said"),
    [
        (lambda: by_load(RATES, 0.25, "hit rate"), "LRU: code 0.45, four users 0.15"),
        (lambda: awake([1, 16], WOKEN, 16, "formula"), "after 16 tokens: code 9.0; formula 11.0"),
        (lambda: guessed(RECALLS, 0.1), "early 0.70, 0.80; favourites 0.30, 0.40"),
        (_speed, "A from 1 without hits to 13 with all"),
    ],
)
def test_figures_stay_within_their_budget_and_bring_their_own_words(drawing, said) -> None:
    assert len(to_png(drawing())) <= MAX_BYTES
    assert said in drawing().get_gid()
