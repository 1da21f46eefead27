"""Chapter 10, exercise 10.2: every program finds its tile from the offsets alone."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.inputs import offsets_of, tile_tables
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.launching import Run, launch
from moe_teach.judging.reasons import UNKNOWN, Why

EXERCISE = Exercise(
    id="10.2",
    name="find_tile_kernel",
    title="Whose tile is this?",
    points=2,
    difficulty=4,
    importance=4,
    minutes=25,
    hints=(
        "Every program may look at all experts at once: load the ends and the beginnings of their "
        "rows as two vectors of BLOCK_E. From these follows how many tiles each expert has, "
        "rounded up. A running sum says where the tiles of an expert end.",
        "With `done = tl.cumsum(n_tiles, axis=0)`, the owner of tile t is the number of experts "
        "with done <= t: an expert without rows is skipped by itself. One number of a vector is "
        "picked with tl.sum(tl.where(e == owner, vector, 0), axis=0).",
        "e = tl.arange(0, BLOCK_E); ends: load expert_offsets_ptr + e where e < E; begins: load "
        "expert_offsets_ptr + e - 1 where 0 < e < E; n_tiles = (ends - begins + BLOCK_ROWS - 1) // "
        "BLOCK_ROWS; owner = tl.sum((done <= t).to(tl.int32), axis=0); begin = begins[owner] + (t "
        "- done[owner] + n_tiles[owner]) * BLOCK_ROWS; end = min(begin + BLOCK_ROWS, "
        "ends[owner]); if owner >= E: -1, 0, 0.",
    ),
    explanation="No program waits for another and nobody counts on the host: the grid is an upper "
    "bound, N // BLOCK_ROWS + E tiles are always enough, and a program too many leaves at once. "
    "Searching costs E integers for each program, next to nothing beside a tile's product.",
)

# Integers in, integers out: nothing is drawn, so each stage runs for the first seeds only.
# rows of each expert, rows of a tile
LOADS = (([1, 3, 2], 2), ([3, 1, 9], 4), ([1, 2, 1, 1, 3, 1, 1, 2, 1, 1, 1, 2], 2))
NAMES = ("tile_expert", "tile_begin", "tile_end")
CAUSES = {
    ("expert_offsets", "load"): Why(
        "There are E offsets, 0 to E - 1: BLOCK_E lanes reach further, and the first expert has "
        "none before it.",
        "Mask both: e < E, and e > 0 where you load at e - 1.",
    ),
}


def _searched(kernel: Any, counts: list[int], block: int, n_programs: int, lanes: int = 0) -> Run:
    outputs = {f"{name}_ptr": torch.full((n_programs,), -7, dtype=torch.int32) for name in NAMES}
    given: dict[str, Any] = {"expert_offsets_ptr": offsets_of(counts), **outputs}
    given |= {"E": len(counts), "BLOCK_ROWS": block}
    given["BLOCK_E"] = lanes or 1 << (len(counts) - 1).bit_length()
    return launch(kernel, (n_programs,), given, outputs=NAMES, causes=CAUSES)


def _tables(counts: list[int], block: int, surplus: int) -> list[Tensor]:
    return list(tile_tables(counts, block, surplus).values())


def _judge(run: Run, wanted: list[Tensor], message: str, why: Why = UNKNOWN) -> None:
    for name, expected in zip(NAMES, wanted, strict=True):
        run.demand_written(
            name,
            "Every program stores its three integers, at place t, also one without a tile.",
            "Leave no program early, and store without a mask.",
        )
        got = run.outputs[name]
        shown = {"expected": expected, "got": got, "example": run.given}
        require(close(got, expected), f"`{name}`: {message}", **why._asdict(), **shown)


def _demand_found(run: Run, expected: Tensor) -> None:
    """Name the ways of finding too few of one expert's three tiles."""
    got = run.outputs["tile_expert"]
    shown = {"expected": expected, "got": got, "example": run.given}
    require(
        not close(got, expected - 1),
        "No program found a tile.",
        cause="An expert's rows begin where those of the one before it end, the first one's at 0.",
        cure="Load the beginnings at e - 1, with 0 for the first expert.",
        **shown,
    )
    require(
        int(got[0]) != -1 or int(got[2]) != 0,
        "Tile 0 was given to nobody.",
        cause="Programs count from 0.",
        cure="A tile belongs to the expert before whom at most t tiles come, and whose own bring "
        "their number above t.",
        **shown,
    )
    require(
        not (int(got[0]) == 0 and bool((got[1:] != 0).all())),
        "Only the first tile was found.",
        cause="Programs number tiles, not experts: this expert has three.",
        cure="Count the tiles of each expert, and compare t with the running sum.",
        **shown,
    )


@EXERCISE.stage("one expert")
def _search_one(kernel: Any, seed: int) -> None:
    if seed:
        return
    run = _searched(kernel, [5], 2, 3)
    expert, begin, end = _tables([5], 2, 0)
    got = run.outputs
    _demand_found(run, expert)
    require(
        not (close(got["tile_expert"][:2], expert[:2]) and int(got["tile_expert"][2]) != 0),
        "The last tile, a short one, was not found.",
        cause="An expert with an odd row left over has one more tile.",
        cure="Divide by BLOCK_ROWS and round up.",
        expected=expert,
        got=got["tile_expert"],
        example=run.given,
    )
    require(
        not close(got["tile_end"], begin + 2),
        "The last tile reaches past the expert's rows.",
        cause="It ends where the expert ends.",
        cure="Take the smaller of the two ends with tl.minimum.",
        expected=end,
        got=got["tile_end"],
        example=run.given,
    )
    message = "one expert with 5 rows has the tiles 0 to 1, 2 to 3, and 4 alone."
    why = Why("Each tile begins BLOCK_ROWS after the one before it.", "Its last row is end - 1.")
    _judge(run, [expert, begin, end], message, why)


@EXERCISE.stage("several experts")
def _search_several(kernel: Any, seed: int) -> None:
    counts, block = LOADS[seed % len(LOADS)]
    experts, begins, ends = _tables(counts, block, 0)
    run = _searched(kernel, counts, block, len(experts), lanes=16)
    got = run.outputs["tile_begin"]
    shown = {"expected": begins, "got": got, "example": run.given}
    starts = torch.tensor([0, *counts]).cumsum(0)[experts.long()]
    require(
        not close(got, block * torch.arange(len(experts))),
        "Tiles cross from one expert to the next.",
        cause="All rows were cut in one go.",
        cure="Every expert begins a tile of its own: add to its first row BLOCK_ROWS for each of "
        "its tiles before t.",
        **shown,
    )
    require(
        not close(got, begins - starts),
        "`tile_begin` counts from the first row of the expert.",
        cause="It counts through all rows.",
        cure="Add where the expert's rows begin.",
        **shown,
    )
    message = "the tiles of an expert follow one another, and then come those of the next expert."
    why = Why(
        "A tile was given to another expert, or counts its own expert's tiles from elsewhere.",
        "Of the tiles before t, only those of the tile's own expert move its first row.",
    )
    _judge(run, [experts, begins, ends], message, why)


@EXERCISE.stage("nobody's tile")
def _search_empty(kernel: Any, seed: int) -> None:
    if seed:
        return
    counts = [0, 3, 0, 0, 1]
    message = "an expert without rows has no tile, and the next tile belongs to the next expert "
    why = Why(
        "An expert without rows was counted with a tile, or ended the search.",
        "0 rows make 0 tiles, rounded up too; the search goes on behind it.",
    )
    _judge(_searched(kernel, counts, 2, 3), _tables(counts, 2, 0), message + "who has rows.", why)


SURPLUS = Why(
    "Something was looked up for an expert that does not exist.",
    "Where the owner is not below E, choose -1, 0 and 0 with tl.where.",
)


@EXERCISE.stage("surplus programs")
def _search_surplus(kernel: Any, seed: int) -> None:
    if seed:
        return
    run = _searched(kernel, [1, 3], 2, 5, lanes=4)
    message = "a program without a tile stores -1, 0, 0, whatever stands in the lanes from E on."
    _judge(run, _tables([1, 3], 2, 2), message, SURPLUS)
    run = _searched(kernel, [1, 3], 2, 5, lanes=2)
    message = (
        "a program without a tile stores -1, 0, 0, also where BLOCK_E is E and no lane is left."
    )
    _judge(run, _tables([1, 3], 2, 2), message, SURPLUS)
    nobody = _searched(kernel, [0, 0, 0], 2, 1)
    _judge(
        nobody, _tables([0, 0, 0], 2, 1), "with no rows at all every program is surplus.", SURPLUS
    )


@EXERCISE.stage("many rows")
def _search_many(kernel: Any, seed: int) -> None:
    if seed:
        return
    counts, block = [2**24 + 1, 3], 2**23
    message = "with more than 2^24 rows the tiles are wrong, and with few they are right."
    why = Why(
        "A number on the way is no int32: a float32 does not hold every integer.",
        "Divide with `//`; a quotient made with `/` is a float.",
    )
    _judge(_searched(kernel, counts, block, 4), _tables(counts, block, 0), message, why)
