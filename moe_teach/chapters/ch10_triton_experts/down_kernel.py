"""Chapter 10, exercise 10.3: gate weight and place in the epilogue of the second product."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.inputs import (
    CHECKED,
    empty,
    expert_of_rows,
    facts,
    far_answers,
    normal,
    tile_tables,
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

CAUSES = {
    ("choice", "load"): "Only the rows below `end` are a choice: mask the load of `choice`.",
    ("gates", "load"): "A row past `end` has no gate: load under a mask.",
    ("out", "store"): "Rows from `end` on and columns from D on are not yours: store under a mask.",
}


def _order(n_rows: int, seed: int) -> Tensor:
    """Shuffle the rows so that the inverse is another order, where there is one."""
    order = identity = torch.arange(n_rows)
    random = generator(seed)
    while bool((order == identity).any() or (n_rows > 2 and (order[order] == identity).any())):
        order = torch.randperm(n_rows, generator=random)
    return order


def _case(
    counts: list[int],
    d_model: int,
    seed: int,
    *,
    blocks: tuple[int, int, int] = (4, 4, 4),
    surplus: int = 0,
    sorted_already: bool = False,
) -> dict[str, Any]:
    """Give the arguments for blocks of rows, of D and of F, with F = 3."""
    n_rows, d_ff = sum(counts), 3
    given: dict[str, Any] = {"h_ptr": normal(n_rows, d_ff, seed=seed)}
    given["w_ptr"] = normal(len(counts), d_model, d_ff, seed=seed + 1)
    given["gates_ptr"] = 0.1 + torch.rand(n_rows, generator=generator(seed + 2))
    order = torch.arange(n_rows) if sorted_already else _order(n_rows, seed)
    given["choice_ptr"] = order.to(torch.int32)
    given |= {"out_ptr": empty(n_rows, d_model)} | tile_tables(counts, blocks[0], surplus)
    given |= {"D": d_model, "F": d_ff}
    return given | dict(zip(("BLOCK_ROWS", "BLOCK_D", "BLOCK_F"), blocks, strict=True))


def _launched(kernel: Any, given: dict[str, Any]) -> Run:
    grid = (len(given["tile_expert_ptr"]), -(-given["D"] // given["BLOCK_D"]))
    return launch(kernel, grid, given, outputs=("out",), causes=CAUSES)


def _by_row(given: dict[str, Any], counts: list[int]) -> Tensor:
    w = given["w_ptr"][expert_of_rows(counts)].double()
    return torch.einsum("nf,ndf->nd", given["h_ptr"].double(), w).float()


def _placed(given: dict[str, Any], by_row: Tensor) -> Tensor:
    out = torch.empty_like(by_row)
    out[given["choice_ptr"].long()] = by_row
    return out


@EXERCISE.stage("gates")
def _epilogue_gates(kernel: Any, seed: int) -> None:
    given = _case([4], 4, seed, sorted_already=True)
    run = _launched(kernel, given)
    run.demand_no_atomics("Every place has one row, so a plain store is enough.")
    run.demand_written(
        "out", "Each row of the tile goes to `out`, and choice c begins at c * D there."
    )
    plain = _by_row(given, [4])
    expected, got = given["gates_ptr"][:, None] * plain, run.outputs["out"]
    require(
        not close(got, plain),
        "The answers are not weighed.",
        cure="Multiply each row by its gate before you store it.",
        **facts(run, expected, got),
    )
    require(
        not close(got, plain * given["gates_ptr"]),
        "The gates weigh the columns.",
        cure="There is one gate per *row* of the tile: gate[:, None].",
        **facts(run, expected, got),
    )
    require(
        close(got, expected),
        "With every choice in its own place already, each row is its product times its gate.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("places")
def _epilogue_places(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    given = _case([4], 4, seed)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_written("out", "Each of the rows goes to the place of its choice.")
    plain, gates = _by_row(given, [4]), given["gates_ptr"]
    expected = _placed(given, gates[place, None] * plain)
    shown = facts(run, expected, got)
    require(
        not close(got, gates[place, None] * plain),
        "The rows are weighed rightly and stay where they are.",
        cure="Row n belongs at out[choice[n]].",
        **shown,
    )
    require(
        not close(got, _placed(given, gates[:, None] * plain)),
        "The rows reach their places with somebody else's gates.",
        cause="`gates` is in the order of the choices, so row n has gates[choice[n]].",
        **shown,
    )
    require(
        not close(got, (gates[place, None] * plain)[place]),
        "`choice` was followed backwards: place n holds row choice[n].",
        cause="It leads from rows to choices: where you *write* follows it, not what you read.",
        **shown,
    )
    require(close(got, expected), "Row n belongs at out[choice[n]], with its own gate.", **shown)


@EXERCISE.stage("edges")
def _epilogue_edges(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    given = _case([3], 5, seed)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_written("out", "D is no multiple of BLOCK_D: the second program has a column too.")
    expected = _placed(given, given["gates_ptr"][place, None] * _by_row(given, [3]))
    require(
        close(got, expected),
        "The tile has 4 rows and the expert only 3, and some numbers come out wrong.",
        cause="The fourth is nobody's answer, and without a mask on the store it lands on a place "
        "that belongs to somebody.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("groups")
def _epilogue_groups(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    counts = [1, 0, 4]
    given = _case(counts, 3, seed, blocks=(2, 8, 4), surplus=1)
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"]
    run.demand_no_races("Each place belongs to one row: mask the rows from `end` on at the store.")
    expected = _placed(given, given["gates_ptr"][place, None] * _by_row(given, counts))
    require(
        close(got, expected),
        "With several experts some numbers come out wrong.",
        cause="Rows, places and gates all go by n.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("half precision")
def _epilogue_half(kernel: Any, seed: int) -> None:
    given = _case([2], 2, seed)
    h = 250 + torch.rand(2, 3, generator=generator(seed))  # three products of 250 · 200
    given |= {"h_ptr": h.half(), "w_ptr": torch.full((1, 2, 3), 200.0).half()}
    given |= {"gates_ptr": given["gates_ptr"] / 10, "out_ptr": empty(2, 2, dtype=torch.float16)}
    run = _launched(kernel, given)
    place, got = given["choice_ptr"].long(), run.outputs["out"].float()
    expected = _placed(given, given["gates_ptr"][place, None] * _by_row(given, [2]))
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
        "`out` has more than 2^31 numbers here, and rows at its end come out wrong.",
        cause="Their offsets do not fit into an int32.",
        expected=expected,
        got=got,
    )
