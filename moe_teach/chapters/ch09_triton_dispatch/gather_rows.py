"""Chapter 09, exercise 9.4: gather the rows."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Causes, Run, Runs, launch
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="9.4",
    name="gather_rows",
    title="Gather the rows",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("9.1",),
    version=2,  # the rows of `rows` may be far apart too
    hints=(
        "Two ranges, one for rows and one for columns, each with a mask of its own. `[:, None]` "
        "and `[None, :]` make a tile of them: of the offsets, and of the masks.",
        "The tile of offsets into x is `token[:, None] * stride_x + column[None, :]`, where "
        "`token` was loaded for each row. A product of two int32 stays an int32: widen `token` "
        "with `.to(tl.int64)` first.",
        "row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N); column likewise from axis 1; "
        "token = tl.load(token_idx_ptr + row, mask=row < n_rows, other=0).to(tl.int64); load the "
        "tile at x_ptr + token[:, None] * stride_x + column[None, :], store it at rows_ptr + "
        "row.to(tl.int64)[:, None] * stride_rows + column[None, :], both with the same mask.",
    ),
    explanation="Strides are arguments because a kernel sees an address and no shape: handed a "
    "transposed or sliced tensor, a kernel that assumes neighbours reads other numbers, without an "
    "error. The wide index costs nothing you could measure and holds until memory ends; 65,536 "
    "tokens times 8 choices of width 4,096 fill an int32 to its last number, and one token more "
    "does not fit.",
)

# rows, columns, block of rows, block of columns, numbers between the rows of x and of rows
SIZES = (
    (1, 1, 2, 4, 0, 0),
    (3, 4, 2, 4, 0, 0),
    (3, 6, 2, 4, 0, 0),
    (3, 3, 4, 4, 2, 5),
    (5, 3, 4, 2, 1, 0),
)
N_TOKENS = 5
FAR = 2**30 + 7  # numbers between rows: twice that is beyond int32, four times beyond uint32


NARROW = Why(
    "The offsets of the last rows do not fit into 32 bits, with a sign or without.",
    "Make the index int64 before it is multiplied.",
)
BOTH = Why(
    "A tile needs both conditions, on the row and on the column.",
    "Join them by `&`: Python's `and` keeps only one of them.",
)


def _launch(
    kernel: Any,
    x: Tensor,
    token_idx: Tensor,
    rows: Tensor,
    blocks: tuple[int, int],
    causes: Causes | None = None,
) -> Run:
    n_rows, d_model = rows.shape
    arguments = {
        "x_ptr": x,
        "token_idx_ptr": token_idx,
        "rows_ptr": rows,
        "n_rows": n_rows,
        "d_model": d_model,
        "stride_x": x.stride(0),
        "stride_rows": rows.stride(0),
        "BLOCK_N": blocks[0],
        "BLOCK_D": blocks[1],
    }
    grid = (-(-n_rows // blocks[0]), -(-d_model // blocks[1]))
    return launch(kernel, grid, arguments, outputs=("rows",), causes=causes)


def _launches(kernel: Any, seed: int) -> list[Run]:
    runs = []
    for n_rows, d_model, block_n, block_d, gap_x, gap_rows in SIZES:
        random = generator(seed)
        x = torch.randn(N_TOKENS, d_model + gap_x, generator=random)[:, :d_model]
        token_idx = torch.randint(0, N_TOKENS, (n_rows,), generator=random, dtype=torch.int32)
        rows = torch.full((n_rows, d_model + gap_rows), torch.nan)[:, :d_model]
        # Without gaps, whatever leaves the tensors has left its tile.
        causes = {} if gap_x else {("rows", "store"): BOTH, ("x", "load"): BOTH}
        runs.append(_launch(kernel, x, token_idx, rows, (block_n, block_d), causes))
    return runs


RUNS = Runs(_launches)


@EXERCISE.stage("memory")
def _gather_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("everybody once")
def _gather_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        run.demand_no_races(
            "Two programs work on one tile, or one reaches into another's.",
            "Program (i, j) has rows from i · BLOCK_N on and columns from j · BLOCK_D on; the rows "
            "of `rows` are stride_rows apart.",
        )
        run.demand_written(
            "rows",
            "Some tile has no program, or was stored elsewhere.",
            "Axis 0 of the grid counts blocks of rows, axis 1 blocks of columns.",
        )


@EXERCISE.stage("values")
def _gather_values(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        x, token_idx = run.given["x_ptr"], run.given["token_idx_ptr"]
        expected, got = x[token_idx.long()], run.outputs["rows"]
        facts = {"expected": expected, "got": got, "example": run.given}
        require(
            close(got, expected) or not close(got, x[: len(got)]),
            "Row r holds token r. It should hold token `token_idx[r]`.",
            cause="The offsets into x are made of r itself.",
            cure="Load that number first, and use it in the offsets into x.",
            **facts,
        )
        require(
            close(got, expected),
            "Each number was written once, but some numbers are wrong.",
            **likely(got, expected, _slips(x, token_idx), _OTHER),
            **facts,
        )


_OTHER = Why(
    "Row r of `rows` is row `token_idx[r]` of `x`, column by column.",
    "Its numbers begin at x_ptr + token_idx[r] * stride_x.",
)


def _slips(x: Tensor, token_idx: Tensor) -> list[tuple[Tensor, Why]]:
    """What comes out for known mistakes."""
    rounded = x.half().float()[token_idx.long()]
    return [(rounded, Why("The numbers were rounded to float16.", "Store what was loaded."))]


@EXERCISE.stage("far apart")
def _gather_far(answer: Any, seed: int) -> None:
    from moe_teach.analysis.kernel_watch import vast

    for far in ("x", "rows"):
        strides = [FAR if name == far else 4 for name in ("x", "rows")]
        try:
            x, rows = (vast((5, 4), (stride, 1), dtype=torch.int8) for stride in strides)
        except OSError:
            return  # a machine that rations addresses skips the case
        x.copy_(torch.randint(1, 100, (5, 4), generator=generator(seed), dtype=torch.int8))
        order = [2, 0, 4, 1, 3]
        causes = {("x", "load"): NARROW, ("rows", "store"): NARROW}
        run = _launch(answer, x, torch.tensor(order, dtype=torch.int32), rows, (8, 4), causes)
        run.demand_wide_offsets()
        expected = torch.stack([x[token] for token in order])
        require(
            close(run.outputs["rows"], expected),
            f"The rows of {far} are {FAR:,} numbers apart here, and some came out wrong.",
            **NARROW._asdict(),
            expected=expected,
            got=run.outputs["rows"],
            example=run.given,
        )
