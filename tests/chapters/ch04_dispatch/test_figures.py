"""The figures of chapter 04 say what they were given, in words and marks and not colour alone."""

import numpy as np
import pytest
import torch

from moe_teach.chapters.ch04_dispatch.figures import buffers, signature, sorting
from moe_teach.plots.style import MAX_BYTES, to_png

IDS = torch.tensor([[2, 0], [1, 2], [0, 2]])


def _signature():
    ways = ("loop", "one_hot", "padded", "sorted", "grouped")
    n_experts = [2, 4, 8]
    rng = np.random.default_rng(0)
    return signature(
        n_experts,
        {way: rng.random(3) + 0.01 for way in ways},
        {way: 1 + rng.random(3) for way in ways},
        rng.integers(0, 3, (32, 64)) / 2,
        {policy: rng.random((3, 32)) for policy in ("first_come", "by_gate", "random")},
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


def test_signature_names_every_axis() -> None:
    panels = _signature().axes

    assert all(axes.get_ylabel() for axes in panels)
    assert panels[2].get_xlabel() == "number of experts"


def test_signature_shows_all_dispatchers_with_markers_of_their_own() -> None:
    time, _, work, policies = _signature().axes[:4]

    for axes, count in ((time, 5), (work, 5), (policies, 3)):
        assert len(axes.lines) == count
        assert len({line.get_marker() for line in axes.lines}) == count


def test_signature_times_are_drawn_in_milliseconds() -> None:
    drawing = signature(
        [2, 4], {"loop": [0.5, 1.0]}, {"loop": [1, 1]}, np.zeros((2, 2)), {"random": [[0, 0]]}
    )

    assert drawing.axes[0].lines[0].get_ydata().tolist() == [500, 1000]


def test_signature_fits_the_budget_of_a_figure() -> None:
    assert len(to_png(_signature())) <= MAX_BYTES
