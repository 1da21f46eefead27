"""Equal means equal kind and shape first, then equal up to the rounding of the coarser dtype."""

import math

import numpy as np
import pytest
import torch

from moe_teach.judging.compare import close


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (torch.ones(2, 3), torch.ones(2, 3)),
        (torch.ones(2).to(torch.bfloat16) * 1.01, torch.ones(2)),
        (torch.ones(2, dtype=torch.int32), torch.ones(2, dtype=torch.int64)),
        (torch.eye(3).T[:, :2], torch.eye(3)[:, :2].contiguous()),
        (torch.tensor(3), 3),
        (3, torch.tensor(3)),
        (0.1 + 0.2, 0.3),
        (np.float64(0.5), 0.5),
        ((1, torch.ones(2)), [1, torch.ones(2)]),
        ({"a": 1.0}, {"a": 1.0}),
        ("b", "b"),
        (torch.empty(0, 4), torch.empty(0, 4)),
        (torch.tensor([math.inf]), torch.tensor([math.inf])),
    ],
)
def test_equal_things_are_close(got, expected):
    assert close(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (torch.ones(2, 3), torch.ones(3, 2)),
        (torch.ones(3, 1), torch.ones(3)),
        (torch.ones(2) * 1.01, torch.ones(2)),
        (torch.ones(2), torch.ones(2, dtype=torch.int64)),
        (torch.tensor([math.nan]), torch.tensor([1.0])),
        (torch.tensor([math.nan]), torch.tensor([math.nan])),
        (None, torch.ones(2)),
        ([1.0, 1.0], torch.ones(2)),
        (None, 1.0),
        (True, 1),
        ("1", 1),
        ((1,), (1, 2)),
        ({"a": 1}, {"b": 1}),
        (2, 3),
        (math.nan, 1.0),
        (None, None.__class__),
    ],
)
def test_different_things_are_not(got, expected):
    assert close(got, expected) is False
