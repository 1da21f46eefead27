"""The open task of chapter 09 measures what it says, and its definition is torch's own."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from moe_teach.analysis.kernel_watch import Access
from moe_teach.chapters.ch09_triton_dispatch.layer_ends import (
    EPSILON,
    by_definition,
    layer_end,
    least_sectors,
)
from moe_teach.chapters.ch09_triton_dispatch.sectors import sectors, sectors_of


class Watched:
    """A record of accesses, each of float32 numbers."""

    def __init__(self, *elements: list[int]) -> None:
        self.accesses = [
            Access(0, "x", "load", np.array(each, dtype=np.int64), 8, 4 * len(each))
            for each in elements
        ]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ([[]], 0),
        ([[0]], 1),
        ([list(range(8))], 1),
        ([[7, 8]], 2),
        ([[0, 40, 80]], 3),
        ([[0], [0]], 2),  # what is loaded twice costs twice
        ([[3, 3, 3]], 1),
    ],
)
def test_a_sector_is_eight_floats_and_each_access_pays_for_its_own(elements, expected) -> None:
    assert sectors(Watched(*elements)) == expected


def test_whole_tensors_count_a_sector_that_they_begin() -> None:
    assert sectors_of([torch.zeros(8), torch.zeros(3, 3), torch.zeros(5, dtype=torch.float16)]) == 4


def test_the_definition_is_torchs_rms_norm_of_the_sum() -> None:
    given = layer_end((5, 8, 2), 3)
    kept = (given["slot"] >= 0)[..., None]
    answers = given["y"][given["slot"].clamp(min=0).long()] * kept
    out = given["x"] + (given["gates"][..., None] * answers).sum(dim=1)

    got, normed = by_definition(given)

    torch.testing.assert_close(got.float(), out)
    weighed = functional.rms_norm(out, (8,), given["weight"], eps=EPSILON)
    torch.testing.assert_close(normed.float(), weighed)


def test_the_first_token_is_always_lost_and_rows_are_all_real() -> None:
    for seed in range(5):
        given = layer_end((6, 8, 3), seed)
        assert (given["slot"][0] == -1).all()
        assert given["slot"].max() < len(given["y"])


def test_the_least_counts_a_row_of_y_only_if_a_slot_names_it() -> None:
    given = layer_end((1, 8, 1), 0)
    outputs = {name: given[name] for name in ("out", "normed")}

    assert (
        least_sectors(given, outputs) == 1 + 1 + 1 + 1 + 2
    )  # gates, slot, x, weight, both outputs
