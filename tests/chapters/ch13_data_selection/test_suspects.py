"""Every suspect of 13.5 can be told from the others by what the exercise tells to look at."""

import pytest

from moe_teach.chapters.ch13_data_selection.suspects import N_CHOSEN, N_STEPS, case

# Of their first candidates every step would take the same eight rows, or eight different ones.
ALIKE, ONCE = (31282601, 16, 27, 35), (33, 76, 340, 376)


def choices(fault: str, seed: int) -> list[list[int]]:
    given = case(fault, seed)
    given["model"].eval()
    return [
        given["make"]().choose(given["model"], given["candidates"], N_CHOSEN, step).tolist()
        for step in range(N_STEPS)
    ]


@pytest.mark.parametrize("seed", [*ALIKE, *range(8)])
@pytest.mark.parametrize("fault", ["", "sign"])
def test_the_luck_of_a_selector_without_a_history_shows_in_other_rows(fault, seed) -> None:
    assert len({frozenset(rows) for rows in choices(fault, seed)}) > N_STEPS // 2


@pytest.mark.parametrize("seed", [*ONCE, *range(8)])
def test_a_selector_that_names_rows_twice_does_so_in_every_step(seed) -> None:
    assert all(len(set(rows)) < N_CHOSEN for rows in choices("twice", seed))
