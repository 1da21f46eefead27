"""A deal that swaps every place with any place is told from a fair one, whichever way it goes."""

import pytest
import torch

from moe_teach.chapters.ch11_reading_the_router.leaning import (
    LIMIT,
    N_GROUPS,
    SIZE,
    lean,
    leaning,
)


def swapped(n: int, draw: torch.Generator, from_the_end: bool) -> torch.Tensor:
    order = torch.arange(n)
    steps = reversed(range(n)) if from_the_end else range(n)
    for i, j in zip(steps, torch.randint(n, (n,), generator=draw).tolist(), strict=True):
        order[[i, j]] = order[[j, i]]
    return order


def test_of_three_labels_27_paths_lead_to_each_place_as_counted_by_hand() -> None:
    paths = (1 + lean(3)) * 27 / 3

    assert paths.round().tolist() == [[9, 9, 9], [10, 8, 9], [8, 10, 9]]


@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("is_sent", [False, True])
def test_swaps_with_anybody_lean_beyond_the_limit(from_the_end: bool, is_sent: bool) -> None:
    draw = torch.Generator().manual_seed(int(from_the_end))
    deals = torch.stack([swapped(SIZE, draw, from_the_end) for _ in range(N_GROUPS)])

    assert leaning(deals.argsort(1) if is_sent else deals) > LIMIT


def test_fair_deals_stay_far_below_it() -> None:
    draw = torch.Generator().manual_seed(0)
    found = [
        leaning(torch.rand(N_GROUPS, SIZE, generator=draw, dtype=torch.float64).argsort(1))
        for _ in range(300)
    ]

    assert max(found) < 4
