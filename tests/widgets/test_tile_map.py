"""The tile map cuts rows as Python cuts them, and both know the same bill."""

from collections.abc import Callable

import pytest
import torch

from moe_teach.widgets.tile_map import ORDERS, TileMap

CASES = [
    TileMap(),
    TileMap.of([7], block_rows=1, block_columns=1, n_columns=3, at_once=5),
    TileMap.of([3, 0, 50, 11], skew=37, order=ORDERS[1], block_rows=16, block_columns=32),
    TileMap.of([1] * 16, order=ORDERS[2], block_rows=4, n_columns=40, program=9),
    TileMap.of([0, 0, 5], skew=1, order=ORDERS[2], block_rows=2, at_once=3),
]


def test_the_browser_cuts_as_python_does(in_node: Callable) -> None:
    given = [
        {
            "tokensPerExpert": w.tokens_per_expert,
            "nColumns": w.n_columns,
            "blockRows": w.block_rows,
            "blockColumns": w.block_columns,
            "skew": w.skew,
            "order": w.order,
            "atOnce": w.at_once,
            "program": w.program,
        }
        for w in CASES
    ]

    plans = in_node("tile_map", "m.planOf(given)", given)

    for widget, plan in zip(CASES, plans, strict=True):
        assert plan["counts"] == widget.counts
        tiles = [(tile["expert"], tile["start"], tile["nRows"]) for tile in plan["tiles"]]
        assert tiles == widget.row_tiles
        assert [tuple(pair) for pair in plan["programs"]] == widget.programs
        bill = {name: plan[name] for name in ("rows", "computed", "loaded", "least")}
        assert {"programs": len(plan["programs"]), **bill} == widget.bill


def test_every_row_stands_in_one_tile_of_its_expert() -> None:
    for widget in CASES:
        owner = torch.repeat_interleave(torch.tensor(widget.counts)).tolist()
        covered = [
            (row, tile.expert)
            for tile in widget.row_tiles
            for row in range(tile.start, tile.start + tile.n_rows)
        ]

        assert covered == list(enumerate(owner))


def test_words_give_the_padding_and_the_loads() -> None:
    words = TileMap.of([4, 1], block_rows=4, block_columns=8, n_columns=8, at_once=64).words()

    assert "5 rows of 2 experts in 2 tiles" in words
    assert "38 % of the rows computed are padding, 21 vectors" in words


def test_a_program_that_does_not_exist_becomes_the_last_one() -> None:
    assert TileMap.of([4], block_rows=4, program=99).program == 3


@pytest.mark.parametrize("counts", [[], [0, 0], [1] * 17, [600]])
def test_what_cannot_be_drawn_is_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        TileMap.of(counts)
