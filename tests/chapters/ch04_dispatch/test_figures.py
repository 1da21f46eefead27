"""The figures of chapter 04 say what they were given, in words and marks and not colour alone."""

import numpy as np
import pytest
import torch

from moe_teach.chapters.ch04_dispatch.figures import buffers, costs, signature, sorting
from moe_teach.plots.style import MAX_BYTES, to_png

IDS = torch.tensor([[2, 0], [1, 2], [0, 2]])


N_EXPERTS = [2, 4, 8]


def _costs():
    ways = ("loop", "one_hot", "padded", "sorted", "grouped")
    rng = np.random.default_rng(0)
    work = {way: 1 + rng.random(3) for way in ways}
    return costs(N_EXPERTS, work, {way: rng.random(3) + 0.01 for way in ways})


def _signature():
    rng = np.random.default_rng(0)
    policies = ("first_come", "by_gate", "random")
    return signature(
        rng.integers(0, 3, (32, 64)) / 2, {policy: rng.random((3, 32)) for policy in policies}
    )


def _words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_sorting_keeps_the_token_order_within_an_expert() -> None:
    axes = sorting(IDS).axes[0]
    rows = {t.get_position()[1]: t.get_text() for t in axes.texts if t.get_position()[0] == 1}

    assert [rows[i] for i in range(6)] == [
        "expert 0 ← token 0",
        "expert 0 ← token 2",
        "expert 1 ← token 1",
        "expert 2 ← token 0",
        "expert 2 ← token 1",
        "expert 2 ← token 2",
    ]


def test_sorting_draws_one_line_per_choice() -> None:
    assert len(sorting(IDS).axes[0].lines) == IDS.numel()


def test_sorting_refuses_more_lines_than_an_eye_can_follow() -> None:
    with pytest.raises(ValueError, match="at most 64"):
        sorting(torch.zeros(33, 2, dtype=torch.long))


def test_buffers_split_every_expert_into_used_empty_and_dropped() -> None:
    axes = buffers([5, 0, 3], capacity=3).axes[0]
    heights = [[bar.get_height() for bar in group] for group in axes.containers]

    assert heights == [[3, 0, 3], [0, 3, 0], [2, 0, 0]]
    assert "C = 3" in _words(axes)


def test_buffers_tell_their_parts_apart_without_colour() -> None:
    groups = buffers([5, 0, 3], capacity=3).axes[0].containers

    assert len({group[0].get_hatch() for group in groups}) == 3


def test_buffers_name_only_what_they_show() -> None:
    legend = buffers([3, 1], capacity=3).legends[0]

    assert [text.get_text() for text in legend.get_texts()] == [
        "computed and needed",
        "computed for nothing (padding)",
    ]


def test_buffers_say_their_numbers_in_words() -> None:
    alt = buffers([5, 0, 3], capacity=3).get_gid()

    assert "expert 0 uses 3 places, leaves 0 empty and drops 2" in alt


@pytest.mark.parametrize("draw", [_costs, _signature])
def test_every_axis_is_named_and_the_figure_fits_its_budget(draw) -> None:
    drawing = draw()

    assert all(axes.get_ylabel() for axes in drawing.axes)
    assert all(axes.get_xlabel() for axes in drawing.axes[:2])
    assert len(to_png(drawing)) <= MAX_BYTES


def test_curves_have_markers_of_their_own() -> None:
    work, time = _costs().axes
    for axes, count in ((work, 5), (time, 5), (_signature().axes[1], 3)):
        assert len(axes.lines) == count
        assert len({line.get_marker() for line in axes.lines}) == count


def test_times_are_drawn_in_milliseconds() -> None:
    drawing = costs([2, 4], {"loop": [1, 1]}, {"loop": [0.5, 1.0]})

    assert drawing.axes[1].lines[0].get_ydata().tolist() == [500, 1000]
    assert "takes 1000.0 ms" in drawing.get_gid()


def test_the_words_of_the_signature_compare_the_first_text_with_the_last() -> None:
    drawing = signature(np.zeros((2, 2)), {"random": torch.tensor([[0.0, 0.5], [0.0, 0.25]])})

    assert "random 0% in the first text and 38% in the last" in drawing.get_gid()
