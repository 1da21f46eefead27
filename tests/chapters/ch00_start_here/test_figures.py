"""The routing picture shows every choice once, and says what was dropped."""

import pytest
import torch

from moe_teach.chapters.ch00_start_here.figures import routing_picture
from moe_teach.types import Routing


def routing(kept=None):
    logits = torch.tensor([[2.0, 1.0, -9.0], [-9.0, 0.0, 0.0]])
    probs = logits.softmax(-1)
    gates, expert_ids = probs.topk(2)
    return Routing(logits, probs, gates, expert_ids, kept)


def discs(drawing):
    return [c for c in drawing.axes[0].collections if len(c.get_offsets()) == 1]


def test_each_choice_is_one_disc_as_large_as_its_gate():
    drawing = routing_picture(["a", "b"], routing())
    drawn = discs(drawing)
    assert [tuple(disc.get_offsets()[0]) for disc in drawn[:2]] == [(0, 0), (0, 1)]
    sizes = [float(disc.get_sizes()[0]) for disc in drawn]
    assert sizes[0] / sizes[1] == pytest.approx(torch.e, rel=1e-4)
    assert [text.get_text() for text in drawing.axes[0].texts] == ["0.73", "0.27", "0.50", "0.50"]


def test_a_dropped_choice_is_hollow_and_crossed_out():
    kept = torch.tensor([[True, False], [True, True]])
    drawn = discs(routing_picture(["a", "b"], routing(kept)))
    hollow = [disc for disc in drawn if len(disc.get_facecolor()) == 0]
    assert len(drawn) == 5  # four choices and one cross
    assert [tuple(disc.get_offsets()[0]) for disc in hollow] == [(0, 1)]


def test_names_and_tokens_label_the_axes():
    axes = routing_picture(["a", "b"], routing(), ["x", "y", "z"]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y", "z"]


def test_labels_that_do_not_fit_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="2 tokens and 3 experts"):
        routing_picture(["a"], routing())


def test_the_picture_tells_every_choice_in_words():
    words = routing_picture(["a", "b"], routing(), ["x", "y", "z"]).get_gid()
    assert words.endswith("a to x 0.73 and y 0.27; b to y 0.50 and z 0.50.")
