"""Chapter 10, exercise 10.1: the K loop of a grouped matmul that gathers its rows itself."""

from contextlib import suppress
from typing import Any

import torch

from moe_teach.chapters.ch10_triton_experts.cases import gathered_case, gathered_product
from moe_teach.chapters.ch10_triton_experts.causes import GATHERED
from moe_teach.chapters.ch10_triton_experts.inputs import (
    empty,
    facts,
    far_tile,
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


def _launched(kernel: Any, given: dict[str, Any]) -> Run:
    grid = (len(given["tile_expert_ptr"]), -(-given["F"] // given["BLOCK_F"]))
    return launch(kernel, grid, given, outputs=("out",), causes=GATHERED)


@EXERCISE.stage("one tile")
def _loop_one_tile(kernel: Any, seed: int) -> None:
    counts = [0, 4]
    given = gathered_case(counts, (4, 4), seed)
    expected = gathered_product(given, counts)
    run = _launched(kernel, given)
    run.demand_written(
        "out",
        "Where is the store, and at which addresses?",
        "Store acc at out_ptr + n[:, None] * F + f[None, :].",
    )
    got = run.outputs["out"]
    shown = facts(run, expected, got)
    _require_no_slip(got, given, shown)
    require(
        close(got, expected),
        "One full tile of rows, columns and steps is wrong.",
        cause="One of the addresses, or the order of the two tiles in the product.",
        cure="The tile of x is (BLOCK_ROWS, BLOCK_D), that of w (BLOCK_D, BLOCK_F), in float32.",
        **shown,
    )
    run.demand_full_precision()


def _require_no_slip(got: Any, given: dict[str, Any], shown: dict[str, Any]) -> None:
    x, w = given["x_ptr"], given["w_ptr"]
    rows = x[given["token_idx_ptr"].long()]
    require(
        not close(got, x[:4] @ w[1].T),
        "The product is right, for the wrong rows.",
        cause="Row n of the result belongs to token `token_idx[n]`, not to token n.",
        cure="Load that number first, and use it in the addresses of x.",
        **shown,
    )
    require(
        not close(got, rows @ w[0].T),
        "This is the product with the matrix of expert 0.",
        cause="The tile belongs to expert e, and the addresses do not depend on e.",
        cure="Its matrix begins at w_ptr + e * stride_e.",
        **shown,
    )
    require(
        not close(got, rows @ w[1]),
        "The matrix came in turned round.",
        cause="It is stored as w[e, f, d], and the product wants a tile whose rows follow d.",
        cure="Load it at f[None, :] * stride_f + d[:, None] * stride_d.",
        **shown,
    )


@EXERCISE.stage("K loop")
def _loop_steps(kernel: Any, seed: int) -> None:
    given = gathered_case([4], (12, 4), seed)
    run, expected = _launched(kernel, given), gathered_product(given, [4])
    got = run.outputs["out"]
    shown = facts(run, expected, got)
    rows, w = given["x_ptr"][given["token_idx_ptr"].long()], given["w_ptr"][0]
    require(
        not close(got, rows[:, :4] @ w[:, :4].T),
        "Only the first BLOCK_D steps of the sum are there.",
        cause="The loop does not run on to D.",
        cure="Let it run over range(0, D, BLOCK_D).",
        **shown,
    )
    require(
        not close(got, 3 * rows[:, :4] @ w[:, :4].T),
        "The loop adds the first block three times.",
        cause="The addresses do not move with the loop.",
        cure="Let `d` begin at the loop's own `start`.",
        **shown,
    )
    require(
        not close(got, rows[:, 8:] @ w[:, 8:].T),
        "Only the last block of the sum is left.",
        cause="Each turn of the loop must add to `acc`, not replace it.",
        cure="Hand `acc` on: acc = tl.dot(a, b, acc, ...).",
        **shown,
    )
    cause = "The steps do not follow one another without gaps, or a row of x is not D long here."
    cure = "In step `start`, d is start + tl.arange(0, BLOCK_D), in x and in w."
    said = "With more than one step over d the sum is wrong."
    require(close(got, expected), said, cause=cause, cure=cure, **shown)
    require(
        run.seen.bytes_stored["out"] == got.nbytes,
        "The result is right, but more bytes are stored than the result has.",
        cause="Every element is stored again in every turn of the loop.",
        cure="The tile lives in registers until the sum is complete: store once, after the loop.",
        **shown,
    )


@EXERCISE.stage("edges")
def _loop_edges(kernel: Any, seed: int) -> None:
    given = gathered_case([3], (9, 5), seed)
    run = _launched(kernel, given)
    run.demand_written(
        "out",
        "A second program has the last columns, and a row of out is F long.",
        "Row n of out begins at n * F.",
    )
    require(
        close(run.outputs["out"], gathered_product(given, [3])),
        "With sizes that are no multiples of the blocks the result is wrong.",
        cause="A step past D reads the next row of the matrix.",
        cure="It must count as 0.0, in x and in w: mask d < D, with other=0.0.",
        **facts(run, gathered_product(given, [3]), run.outputs["out"]),
    )


@EXERCISE.stage("groups")
def _loop_groups(kernel: Any, seed: int) -> None:
    counts = [3, 0, 5]
    given = gathered_case(counts, (5, 3), seed, blocks=(4, 2, 8), surplus=1)
    run = _launched(kernel, given)
    expected, got = gathered_product(given, counts), run.outputs["out"]
    run.demand_written(
        "out", "Rows begin at tile_begin, not at a multiple of BLOCK_ROWS.", "Use `n` for them."
    )
    require(
        close(got, expected),
        "With several experts the result is wrong.",
        cause="A tile works with other rows than its own, or with another expert.",
        cure="Rows begin at tile_begin[t], end before tile_end[t]; the expert is tile_expert[t].",
        **facts(run, expected, got),
    )
    run.demand_no_races(
        "Rows from `end` on belong to the next expert.", "Mask them at the store: n < end."
    )


@EXERCISE.stage("strides")
def _loop_strides(kernel: Any, seed: int) -> None:
    given = gathered_case([1, 3], (5, 3), seed, blocks=(2, 8, 4), flip=True)
    run = _launched(kernel, given)
    expected, got = gathered_product(given, [1, 3]), run.outputs["out"]
    require(
        close(got, expected),
        "For a w that is stored the other way round the result is wrong.",
        cause="An address in w takes for granted that its rows are D long and lie in one piece.",
        cure="Use stride_e, stride_f and stride_d for every address in w, and never D or F.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("half precision")
def _loop_half(kernel: Any, seed: int) -> None:
    given = gathered_case([2], (8, 2), seed)
    x, w = 300 + torch.rand(5, 8, generator=generator(seed)), torch.full((1, 2, 8), 300.0)
    w[..., 4:] = -300  # the sum rises above what float16 can hold, and comes back
    given |= {"x_ptr": x.half(), "w_ptr": w.half(), "out_ptr": empty(2, 2, dtype=torch.float16)}
    expected = gathered_product(given, [2])
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
    run = launch(kernel, (1, 1), given, outputs=("out",), causes=GATHERED)
    run.demand_wide_offsets()
    require(
        close(run.outputs["out"][-2:], expected),
        f"`{far}` has more than 2^32 numbers here, and rows at its end come out wrong.",
        cause="Their offsets do not fit into 32 bits, with a sign or without.",
        cure="Make tokens, rows and experts int64 before you multiply them.",
        expected=expected,
        got=run.outputs["out"][-2:],
    )
