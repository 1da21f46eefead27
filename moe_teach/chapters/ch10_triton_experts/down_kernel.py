"""Chapter 10, exercise 10.3: gate weight and place in the epilogue of the second product."""

from contextlib import suppress
from typing import Any

import torch

from moe_teach.chapters.ch10_triton_experts.cases import answers_by_row, down_case, placed
from moe_teach.chapters.ch10_triton_experts.causes import DOWN
from moe_teach.chapters.ch10_triton_experts.inputs import (
    empty,
    facts,
    far_answers,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Run, launch

EXERCISE = Exercise(
    id="10.3",
    name="down_kernel",
    title="The way out, in the epilogue",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    needs=("10.1",),
    version=2,  # offsets must be wide
    hints=(
        "Two small vectors are missing, one number per row of the tile: the choice that each row "
        "belongs to, and that choice's gate. Then one store.",
        "`choice_ptr + n` leads to the places and `gates_ptr + place` to the gates; load both "
        "under n < end. A vector of rows multiplies a tile as gate[:, None]. Widen `place` with "
        "`.to(tl.int64)` before you multiply it by D.",
        "place = tl.load(choice_ptr + n, mask=n < end, other=0).to(tl.int64); gate = "
        "tl.load(gates_ptr + place, mask=n < end, other=0.0); tl.store(out_ptr + place[:, None] * "
        "D + d[None, :], gate[:, None] * acc, mask=(n[:, None] < end) & (d[None, :] < D)).",
    ),
    explanation="What was a kernel of its own, read every answer, weigh it, write it elsewhere, "
    "costs nothing here: the tile is in registers and has to be stored anyway. Each place is "
    "written by one program, so nothing is added up between programs and the result never "
    "depends on their order. A sum over the K neighbours finishes the layer.",
)


def _launched(kernel: Any, given: dict[str, Any]) -> Run:
    grid = (len(given["tile_expert_ptr"]), -(-given["D"] // given["BLOCK_D"]))
    return launch(kernel, grid, given, outputs=("out",), causes=DOWN)


@EXERCISE.stage("gates")
def _epilogue_gates(kernel: Any, seed: int) -> None:
    given = down_case([4], 4, seed, sorted_already=True)
    run = _launched(kernel, given)
    run.demand_no_atomics(
        "Every place has one row, so nothing has to be added up.", "A plain store is enough."
    )
    run.demand_written(
        "out",
        "Each row of the tile goes to `out`, and a row of it is D long.",
        "Choice c begins at out_ptr + c * D.",
    )
    plain = answers_by_row(given, [4])
    expected, got = given["gates_ptr"][:, None] * plain, run.outputs["out"]
    require(
        not close(got, plain),
        "The answers are not weighed.",
        cause="The gates are missing in what is stored.",
        cure="Multiply each row by its gate before you store it.",
        **facts(run, expected, got),
    )
    require(
        not close(got, plain * given["gates_ptr"]),
        "Each row is multiplied by all gates in turn, column by column.",
        cause="The gates weigh the columns, and there is one gate per *row* of the tile.",
        cure="Let them stand in a column: gate[:, None].",
        **facts(run, expected, got),
    )
    require(
        close(got, expected),
        "With every choice in its own place already, some rows are not their product times their "
        "gate.",
        cause="The gates came in other numbers, or something else was done to the product.",
        cure="Multiply acc by gate[:, None] in float32, and do nothing else to it.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("places")
def _epilogue_places(kernel: Any, seed: int) -> None:
    given = down_case([4], 4, seed)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_written(
        "out",
        "Each of the rows goes to the place of its choice.",
        "Load choice_ptr + n, and store at out_ptr + place[:, None] * D + d[None, :].",
    )
    plain, gates = answers_by_row(given, [4]), given["gates_ptr"]
    expected = placed(given, gates[place, None] * plain)
    shown = facts(run, expected, got)
    _require_led_by_choice(got, gates[place, None] * plain, place, shown)
    require(
        not close(got, placed(given, gates[:, None] * plain)),
        "The rows reach their places with somebody else's gates.",
        cause="`gates` is in the order of the choices, not of the rows.",
        cure="Row n has gates[choice[n]].",
        **shown,
    )
    require(
        close(got, expected),
        "Some rows are in other places, or have other gates.",
        cause="Both follow `choice`.",
        cure="Row n belongs at out[choice[n]], with its own gate.",
        **shown,
    )


def _require_led_by_choice(got: Any, weighed: Any, place: Any, shown: dict[str, Any]) -> None:
    require(
        not close(got, weighed),
        "The rows are weighed rightly and stay where they are.",
        cause="The address of the store is made of n.",
        cure="Row n belongs at out[choice[n]].",
        **shown,
    )
    require(
        not close(got, weighed[place]),
        "Place n holds row choice[n].",
        cause="`choice` was followed backwards: it leads from rows to choices.",
        cure="Where you *write* follows it, not what you read.",
        **shown,
    )


@EXERCISE.stage("edges")
def _epilogue_edges(kernel: Any, seed: int) -> None:
    given = down_case([3], 5, seed)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_written(
        "out",
        "D is no multiple of BLOCK_D: the second program has a column too.",
        "Mask columns with d < D, in every program.",
    )
    expected = placed(given, given["gates_ptr"][place, None] * answers_by_row(given, [3]))
    require(
        close(got, expected),
        "The tile has 4 rows and the expert only 3, and some numbers come out wrong.",
        cause="The fourth is nobody's answer, and without a mask on the store it lands on a place "
        "that belongs to somebody.",
        cure="Store under a mask with n < end.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("groups")
def _epilogue_groups(kernel: Any, seed: int) -> None:
    counts = [1, 0, 4]
    given = down_case(counts, 3, seed, blocks=(2, 8, 4), surplus=1)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_no_races(
        "Each place belongs to one row, and rows from `end` on are not this tile's.",
        "Mask the rows from `end` on at the store.",
    )
    expected = placed(given, given["gates_ptr"][place, None] * answers_by_row(given, counts))
    require(
        close(got, expected),
        "With several experts some numbers come out wrong.",
        cause="A tile took its rows for those of the launch's first tiles.",
        cure="Rows, places and gates all go by n, which begins at tile_begin[t].",
        **facts(run, expected, got),
    )


@EXERCISE.stage("half precision")
def _epilogue_half(kernel: Any, seed: int) -> None:
    given = down_case([2], 2, seed)
    h = 250 + torch.rand(2, 3, generator=generator(seed))  # three products of 250 · 200
    given |= {"h_ptr": h.half(), "w_ptr": torch.full((1, 2, 3), 200.0).half()}
    given |= {"gates_ptr": given["gates_ptr"] / 10, "out_ptr": empty(2, 2, dtype=torch.float16)}
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"].float()
    expected = placed(given, given["gates_ptr"][place, None] * answers_by_row(given, [2]))
    require(
        bool(((got - expected).abs() <= 5e-3 * expected.abs()).all()),
        "In float16 the answers are wrong.",
        cause="The sum overflows where it is rounded before its gate made it small.",
        cure="Multiply while it is still float32.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("far apart")
def _epilogue_far(kernel: Any, seed: int) -> None:
    if seed:
        return
    with suppress(OSError):  # a machine that rations addresses skips the case
        _demand_wide(kernel, seed)


def _demand_wide(kernel: Any, seed: int) -> None:
    given, expected = far_answers(seed)
    run = _launched(kernel, given)
    run.demand_wide_offsets()
    got = run.outputs["out"][-2:]
    require(
        close(got, expected),
        "`out` has more than 2^32 numbers here, and rows at its end come out wrong.",
        cause="Their offsets do not fit into 32 bits, with a sign or without.",
        cure="Make choice[n] int64 before you multiply it.",
        expected=expected,
        got=got,
    )
