"""The figures of chapter 10 say what they were given, in words and marks and not colour alone."""

import numpy as np
import pytest

from moe_teach.chapters.ch10_triton_experts.figures import (
    moved,
    ownership,
    room,
    signature,
    waste,
)
from moe_teach.plots.style import MAX_BYTES, to_png

OWNER = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 3], [-1, -1, -1]])
TOKENS = (1, 64, 4096)


def _signature():
    rates = {"dense": [4e12, 3e14, 989e12], "experts": [4e12, 2e13, 9e14]}
    slower = {"padded": [16, 1.2, 1.1], "step by step": [1, 1.1, 1.3]}
    return signature(TOKENS, rates, slower, 989e12)


def _words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_program_is_named_in_its_own_tile() -> None:
    axes = ownership(OWNER, [2, 2, 3]).axes[0]
    named = {t.get_text(): t.get_position() for t in axes.texts if t.get_text().isdigit()}

    assert named == {"0": (1.0, 1.0), "1": (2.5, 1.0), "2": (1.0, 2.5), "3": (2.5, 2.5)}


def test_with_its_ids_a_program_is_named_by_its_place_in_the_grid() -> None:
    ids = [(0, 0), (0, 1), (1, 0), (1, 1)]
    words = _words(ownership(OWNER, [2, 2, 3], ids).axes[0])

    assert {"(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)"} <= set(words)


def test_what_nobody_stored_stays_empty() -> None:
    assert len(ownership(OWNER).axes[0].patches) == 4


def test_experts_without_rows_have_no_label() -> None:
    words = _words(ownership(OWNER, [2, 2, 3]).axes[0])

    assert "expert 0" in words and "expert 2" in words and "expert 1" not in words


def test_more_programs_than_an_eye_can_follow_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        ownership(np.arange(65)[None])


def test_waste_draws_one_line_for_each_block_and_router() -> None:
    series = {16: [4, 2, 1.2], 64: [16, 4, 1.5]}
    panels = waste([1, 16, 64], series, series).axes

    assert [axes.get_title() for axes in panels] == ["even router", "skewed router"]
    assert [line.get_label() for line in panels[0].lines][:2] == ["16", "64"]
    assert list(panels[1].lines[1].get_ydata()) == [16, 4, 1.5]


def test_moved_bytes_end_with_their_sum() -> None:
    ways = {"three": {"rows": 2000, "inner": 5000}, "one": {"rows": 1000, "inner": 1000}}
    axes = moved(ways, "bytes").axes[0]

    assert _words(axes) == [" 7,000", " 2,000"]
    assert axes.get_xlabel() == "bytes"


def test_the_roof_is_drawn_in_teraflops_and_named() -> None:
    axes = _signature().axes[0]

    assert list(axes.lines[0].get_ydata()) == pytest.approx([4, 300, 989])
    assert _words(axes) == ["the machine's peak: 989"]


def test_four_lines_differ_in_their_marks_and_not_in_colour_alone() -> None:
    lines = [line for axes in _signature().axes for line in axes.lines]
    named = [line for line in lines if not line.get_label().startswith("_")]

    assert len({line.get_marker() for line in named}) == len(named) == 4


def test_every_batch_size_has_its_tick() -> None:
    for axes in _signature().axes:
        assert list(axes.xaxis.get_majorticklocs()) == list(TOKENS)


def _room():
    need = {"sm_80": [64, 128, 192], "gfx942": [32, 64, 96]}
    return room((2, 4, 6), need, {"sm_80": 163, "gfx942": 64}, {"sm_80": "A100", "gfx942": "MI300"})


def test_room_says_how_far_each_machine_goes() -> None:
    alt = _room().get_gid()

    assert "A100 needs 192 KB with 6 and has 163, enough for 4" in alt
    assert "MI300 needs 96 KB with 6 and has 64, enough for 4" in alt


def test_each_machine_has_a_line_for_its_need_and_one_for_what_it_has() -> None:
    axes = _room().axes[0]
    flat = [line.get_ydata()[0] for line in axes.lines if line.get_label().startswith("_")]

    assert flat == [163, 64]
    assert [line.get_label() for line in axes.lines if not line.get_label().startswith("_")] == [
        "A100: has 163",
        "MI300: has 64",
    ]


@pytest.mark.parametrize(
    "drawing",
    [
        _signature,
        _room,
        lambda: ownership(OWNER, [2, 3]),
        lambda: waste([1, 16], {16: [4, 2], 64: [8, 3]}, {16: [4, 2], 64: [8, 3]}),
        lambda: moved({"three": {"rows": 2000}, "one": {"rows": 1000}}, "bytes"),
    ],
)
def test_figures_stay_within_their_budget_and_bring_their_own_words(drawing) -> None:
    assert len(to_png(drawing())) <= MAX_BYTES
    assert len(drawing().get_gid()) > 40
