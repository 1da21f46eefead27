"""Chapter 10, exercise 10.1: the K loop of a grouped matmul that gathers its rows itself."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch10_triton_experts.inputs import (
    CHECKED,
    empty,
    expert_of_rows,
    facts,
    far_tile,
    normal,
    tile_tables,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Run, launch

EXERCISE = Exercise(
    id="10.1",
    name="gathered_matmul_kernel",
    title="The K loop, with the gather inside",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    version=2,  # offsets must be wide, and products whole
    hints=(
        "Load the tokens of your rows once, before the loop. In the loop, load a tile of x, "
        "(BLOCK_ROWS, BLOCK_D), and a tile of w, (BLOCK_D, BLOCK_F), and add their product to a "
        "float32 accumulator. Store once, after the loop.",
        "A tile of addresses is a column plus a row: `token[:, None] * D + d[None, :]` for x, and "
        "for w `f[None, :] * stride_f + d[:, None] * stride_d` plus the start of expert e. Masks "
        "have the same shape; what is masked must count as 0.0. Widen `token`, `n` and `e` with "
        "`.to(tl.int64)` before you multiply them.",
        "token = tl.load(token_idx_ptr + n, mask=n < end, other=0).to(tl.int64); acc = "
        "tl.zeros((BLOCK_ROWS, BLOCK_F), tl.float32); for start in range(0, D, BLOCK_D): d = start "
        "+ tl.arange(0, BLOCK_D); a and b as in the second hint; acc = tl.dot(a, b, acc, "
        'input_precision="ieee"). Store at out_ptr + n.to(tl.int64)[:, None] * F + f[None, :], '
        "with mask.",
    ),
    explanation="The tile stays in registers over the whole loop and is written once. The gather "
    "costs a few more addresses and saves a copy of every routed row: N · D numbers written and "
    "read again. Masking d matters twice: without it the last step reads the next row.",
)

CAUSES = {
    ("x", "load"): "Rows from `end` on and columns from D on do not exist: mask both when you load "
    "from x, with other=0.0.",
    ("w", "load"): "Columns from F on and steps from D on do not exist: mask both when you load "
    "from w, with other=0.0.",
    ("token_idx", "load"): "Only the rows below `end` have a token: mask the load of `token_idx`.",
    ("out", "store"): "Store under a mask: only rows below `end` and columns below F are yours.",
}


def _case(
    counts: list[int],
    sizes: tuple[int, int],
    seed: int,
    *,
    blocks: tuple[int, int, int] = (4, 4, 4),
    surplus: int = 0,
    flip: bool = False,
) -> dict[str, Any]:
    """Give the arguments for blocks of rows, of F and of D; `flip` stores w the other way round."""
    d_model, d_ff = sizes
    n_rows, n_tokens = sum(counts), sum(counts) + 3
    x = normal(n_tokens, d_model, seed=seed)
    shuffled = torch.randperm(n_tokens, generator=generator(seed))[:n_rows]
    w = normal(len(counts), d_ff, d_model, seed=seed + 1)
    w = w.mT.contiguous().mT if flip else w
    given = {"x_ptr": x, "token_idx_ptr": shuffled.to(torch.int32), "w_ptr": w}
    given |= {"out_ptr": empty(n_rows, d_ff)} | tile_tables(counts, blocks[0], surplus)
    given |= {"D": d_model, "F": d_ff}
    given |= dict(zip(("stride_e", "stride_f", "stride_d"), w.stride(), strict=True))
    return given | dict(zip(("BLOCK_ROWS", "BLOCK_F", "BLOCK_D"), blocks, strict=True))


def _launched(kernel: Any, given: dict[str, Any]) -> Run:
    grid = (len(given["tile_expert_ptr"]), -(-given["F"] // given["BLOCK_F"]))
    return launch(kernel, grid, given, outputs=("out",), causes=CAUSES)


def _product(given: dict[str, Any], counts: list[int]) -> Tensor:
    rows, w = given["x_ptr"][given["token_idx_ptr"].long()], given["w_ptr"]
    return torch.einsum("nd,nfd->nf", rows.double(), w[expert_of_rows(counts)].double()).float()


@EXERCISE.stage("one tile")
def _loop_one_tile(kernel: Any, seed: int) -> None:
    counts = [0, 4]
    given = _case(counts, (4, 4), seed)
    expected = _product(given, counts)
    run = _launched(kernel, given)
    run.demand_written("out", "Where is the store, and at which addresses?")
    got = run.outputs["out"]
    shown = facts(run, expected, got)
    x, w = given["x_ptr"], given["w_ptr"]
    rows = x[given["token_idx_ptr"].long()]
    require(
        not close(got, x[:4] @ w[1].T),
        "The product is right, for the wrong rows.",
        cause="Row n of the result belongs to token `token_idx[n]`, not to token n.",
        **shown,
    )
    require(
        not close(got, rows @ w[0].T),
        "This is the product with the matrix of expert 0.",
        cause="The tile belongs to expert e, whose matrix begins at w_ptr + e * stride_e.",
        **shown,
    )
    require(
        not close(got, rows @ w[1]),
        "The matrix came in turned round.",
        cause="It is w[e, f, d]: a column of the tile that you load follows f, a row follows d.",
        **shown,
    )
    require(close(got, expected), "One full tile of rows, columns and steps is wrong.", **shown)
    run.demand_full_precision()


@EXERCISE.stage("K loop")
def _loop_steps(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    given = _case([4], (12, 4), seed)
    run = _launched(kernel, given)
    expected, got = _product(given, [4]), run.outputs["out"]
    shown = facts(run, expected, got)
    rows, w = given["x_ptr"][given["token_idx_ptr"].long()], given["w_ptr"][0]
    require(
        not close(got, rows[:, :4] @ w[:, :4].T),
        "Only the first BLOCK_D steps of the sum are there.",
        cause="Does the loop run on to D, and do the addresses move with it?",
        **shown,
    )
    require(
        not close(got, 3 * rows[:, :4] @ w[:, :4].T),
        "The loop adds the first block three times.",
        cure="Let `d` begin at the loop's own `start`.",
        **shown,
    )
    require(
        not close(got, rows[:, 8:] @ w[:, 8:].T),
        "Only the last block of the sum is left.",
        cause="Each turn of the loop must add to `acc`, not replace it.",
        **shown,
    )
    said = "With more than one step over d the sum is wrong."
    require(close(got, expected), said, cause="Is a row of x D long?", **shown)
    require(
        run.seen.bytes_stored["out"] == got.nbytes,
        "The result is right, but every element is stored again in every turn of the loop.",
        cure="The tile lives in registers until the sum is complete: store once, after the loop.",
        **shown,
    )


@EXERCISE.stage("edges")
def _loop_edges(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    given = _case([3], (9, 5), seed)
    run = _launched(kernel, given)
    run.demand_written(
        "out", "A second program has the last columns, and row n of out begins at n * F."
    )
    require(
        close(run.outputs["out"], _product(given, [3])),
        "With sizes that are no multiples of the blocks the result is wrong.",
        cause="A step past D reads the next row of the matrix: it must count as 0.0, in x and w.",
        **facts(run, _product(given, [3]), run.outputs["out"]),
    )


@EXERCISE.stage("groups")
def _loop_groups(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    counts = [3, 0, 5]
    given = _case(counts, (5, 3), seed, blocks=(4, 2, 8), surplus=1)
    run = _launched(kernel, given)
    expected, got = _product(given, counts), run.outputs["out"]
    run.demand_written("out", "Rows begin at tile_begin, not at a multiple of BLOCK_ROWS.")
    require(
        close(got, expected),
        "With several experts the result is wrong.",
        cause="Rows begin at tile_begin[t], end before tile_end[t]; the expert is tile_expert[t].",
        **facts(run, expected, got),
    )
    run.demand_no_races("Rows from `end` on belong to the next expert: mask them at the store.")


@EXERCISE.stage("strides")
def _loop_strides(kernel: Any, seed: int) -> None:
    if seed >= CHECKED:
        return
    given = _case([1, 3], (5, 3), seed, blocks=(2, 8, 4), flip=True)
    run = _launched(kernel, given)
    expected, got = _product(given, [1, 3]), run.outputs["out"]
    require(
        close(got, expected),
        "For a w that is stored the other way round the result is wrong.",
        cure="Use stride_e, stride_f and stride_d for every address in w, and never D or F.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("half precision")
def _loop_half(kernel: Any, seed: int) -> None:
    given = _case([2], (8, 2), seed)
    x, w = 300 + torch.rand(5, 8, generator=generator(seed)), torch.full((1, 2, 8), 300.0)
    w[..., 4:] = -300  # the sum rises above what float16 can hold, and comes back
    given |= {"x_ptr": x.half(), "w_ptr": w.half(), "out_ptr": empty(2, 2, dtype=torch.float16)}
    expected = _product(given, [2])
    run = _launched(kernel, given)
    got = run.outputs["out"].float()
    require(
        bool((got - expected).abs().max() < 1 + 2e-3 * expected.abs().max()),
        "In float16 the sum broke.",
        cause="Halfway it is larger than the largest float16, 65,504.",
        cure="Sum in float32 and round once, when you store.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("far apart")
def _loop_far(kernel: Any, seed: int) -> None:
    if seed:
        return
    for far in ("x", "w", "out"):
        with suppress(OSError):  # a machine that rations addresses skips the case
            _demand_wide(kernel, far, seed)


def _demand_wide(kernel: Any, far: str, seed: int) -> None:
    given, expected = far_tile(far, seed)
    run = launch(kernel, (1, 1), given, outputs=("out",), causes=CAUSES)
    run.demand_wide_offsets()
    require(
        close(run.outputs["out"][-2:], expected),
        f"`{far}` has more than 2^31 numbers here, and rows at its end come out wrong.",
        cause="Their offsets do not fit into an int32.",
        expected=expected,
        got=run.outputs["out"][-2:],
    )
