"""What the exercises do with a layer of the reader's own."""

import pytest
import torch

from moe_teach.analysis.laws import obeys
from moe_teach.analysis.own_layer import told_about, written_by
from moe_teach.chapters.ch04_dispatch.figures import who_goes_where
from moe_teach.chapters.ch04_dispatch.my_layer import kinds_by_expert, learn_kinds
from moe_teach.chapters.ch04_dispatch.my_moe_answers import WithALoopOverTheExperts as Layer


def test_the_laws_are_told_all_they_need_but_a_bias() -> None:
    layer = Layer(8, 4, 2, 3)
    report = obeys(layer, d_model=8, **told_about(layer))

    assert report
    untold = [result.name for result in report if result.outcome == "not tested"]
    assert untold == ["bias shift", "bias stays out"]


def test_gates_that_need_not_sum_to_one_are_not_asked_to() -> None:
    assert told_about(Layer(8, 4, 2, 3, False))["gate_sum"] is None


def test_learning_the_kinds_changes_the_layer_and_its_loss() -> None:
    torch.manual_seed(0)
    layer = Layer(8, 4, 1, 2, False)
    losses = learn_kinds(layer, 0, n_steps=30, lr=0.03)

    assert losses[-1] < 0.8 * losses[0]
    assert kinds_by_expert(layer, 0).sum(dim=1).tolist() == pytest.approx([1, 1, 1, 1])


def test_a_part_is_the_readers_by_the_package_it_comes_from() -> None:
    def part() -> None: ...

    assert written_by(part) == "the course"
    part.__module__ = "mine.e4_3_combine"
    assert written_by(part) == "you"


def test_the_figure_writes_every_share_and_every_author() -> None:
    table = torch.eye(4)
    drawing = who_goes_where(table, table, {"route": "you", "sort": "the course"})
    words = [text.get_text() for axes in drawing.axes for text in axes.texts]

    assert words.count("100%") == 8
    assert words[-2:] == ["●  route: you", "○  sort: the course"]
