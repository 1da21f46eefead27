"""The four kinds are those of lesson 03, to the last number."""

import math
from pathlib import Path

import torch
from torch import Tensor

from moe_teach.course.authoring.sources import read
from moe_teach.data.kinds import four_kinds, kind_of

LESSON = Path(__file__).parents[2] / "notebooks" / "03_router.py"


def test_the_library_and_lesson_03_draw_the_same_tokens() -> None:
    cell = next(c.source for c in read(LESSON).cells if "def four_kinds" in c.source)
    lesson = {"torch": torch, "math": math, "Tensor": Tensor}
    exec(cell, lesson)

    for ours, theirs in zip(four_kinds(5, 37), lesson["four_kinds"](5, 37), strict=True):
        assert torch.equal(ours, theirs)


def test_a_kind_is_the_signs_of_two_features() -> None:
    x = torch.zeros(4, 8)
    x[:, :2] = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])

    assert kind_of(x).tolist() == [0, 1, 2, 3]
