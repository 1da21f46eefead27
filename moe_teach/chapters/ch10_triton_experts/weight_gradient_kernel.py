"""Chapter 10, exercise 10.4: the gradient of the matrices, a sum over ragged rows."""

from contextlib import suppress
from typing import Any

import torch

from moe_teach.chapters.ch10_triton_experts.cases import gradient, gradient_case
from moe_teach.chapters.ch10_triton_experts.causes import GRADIENT
from moe_teach.chapters.ch10_triton_experts.inputs import (
    empty,
    facts,
    far_rows,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.launching import Run, launch

EXERCISE = Exercise(
    id="10.4",
    name="weight_gradient_kernel",
    title="The gradient of the matrices",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    needs=("10.1",),
    version=3,  # products must be whole, offsets wide
    hints=(
        "Look up where your expert's rows begin and end. Then it is a K loop again, with the rows "
        "as the dimension that is summed over, and its length differs from expert to expert.",
        "The first expert begins at 0: tl.load(..., mask=e > 0, other=0). A loop may run over "
        "`range(begin, end, BLOCK_ROWS)` with numbers that were loaded. Load (BLOCK_ROWS, BLOCK_F) "
        "of dout and (BLOCK_ROWS, BLOCK_D) of rows; rows from `end` on count as 0.0. Widen `n` "
        "with `.to(tl.int64)` before you multiply it.",
        "for start in range(begin, end, BLOCK_ROWS): n = (start + tl.arange(0, BLOCK_ROWS))"
        ".to(tl.int64); a = tile of dout, b = tile of rows, both masked with n < end; acc = "
        'tl.dot(tl.trans(a), b, acc, input_precision="ieee"). Then store acc at dw_ptr + (e * F + '
        "f[:, None]) * D + d[None, :], masked with f < F and d < D, also when there was no row.",
    ),
    explanation="The ragged dimension is now the inner one, so nothing is padded but the last step "
    "of each expert. One program owns one block of dw and adds up all of it: no atomics, and the "
    "same bits on every run. A loop that never turns leaves zeros in acc, and they must be "
    "stored: memory that nobody wrote is not zero.",
)


def _launched(kernel: Any, given: dict[str, Any]) -> Run:
    n_experts, d_ff, d_model = given["dw_ptr"].shape
    grid = (n_experts, -(-d_ff // given["BLOCK_F"]), -(-d_model // given["BLOCK_D"]))
    return launch(kernel, grid, given, outputs=("dw",), causes=GRADIENT)


@EXERCISE.stage("one block")
def _gradient_one(kernel: Any, seed: int) -> None:
    given = gradient_case([4], (4, 4), seed)
    run = _launched(kernel, given)
    run.demand_no_atomics(
        "Each block of dw has one program, so nobody else adds to it.",
        "Sum in `acc`, and store once.",
    )
    run.demand_not_read_early("dw")
    run.demand_written(
        "dw",
        "Where is the store, and at which addresses?",
        "dw[e, f, d] lies at dw_ptr + (e * F + f) * D + d.",
    )
    expected, got = gradient(given, [4]), run.outputs["dw"]
    shown = facts(run, expected, got)
    require(
        not close(got, expected.mT),
        "This is the gradient turned round: dw[e, f, d] is asked for.",
        cause="f numbers the rows of the block and d its columns.",
        cure="Turn the tile of dout round, not that of rows: tl.dot(tl.trans(a), b, acc, ...).",
        **shown,
    )
    a, b = given["dout_ptr"], given["rows_ptr"]
    require(
        not close(got[0], a @ b) and not close(got[0], a @ b.T),
        "The two tiles were multiplied, and not over the rows that they share.",
        cause="The sum runs over n, which stands first in both.",
        cure="Turn the tile of dout round with tl.trans before you multiply.",
        **shown,
    )
    require(
        close(got, expected),
        "One block over one step of rows is wrong.",
        cause="One of the addresses, or something else than a plain sum over the rows.",
        cure="dout[n, f] lies at n * F + f, rows[n, d] at n * D + d.",
        **shown,
    )
    run.demand_full_precision()


@EXERCISE.stage("the loop")
def _gradient_loop(kernel: Any, seed: int) -> None:
    given = gradient_case([9], (4, 4), seed)
    run = _launched(kernel, given)
    expected, got = gradient(given, [9]), run.outputs["dw"]
    a, b = given["dout_ptr"], given["rows_ptr"]
    shown = facts(run, expected, got)
    require(
        not close(got[0], a[:4].T @ b[:4]),
        "Only the first BLOCK_ROWS rows were added up.",
        cause="The loop ends after one step, or there is none.",
        cure="Let the loop run over all rows of the expert.",
        **shown,
    )
    require(
        not close(got[0], a[8:].T @ b[8:]),
        "Only the last step is left.",
        cause="Each turn of the loop replaces the sum.",
        cure="Add to `acc` in every turn instead of replacing it.",
        **shown,
    )
    require(
        not close(got[0], a[:8].T @ b[:8]),
        "The last row is missing.",
        cause="9 rows in steps of 4 make three steps, the last one short.",
        cure="Let the loop run on to `end`, and mask the rows from there on.",
        **shown,
    )
    require(
        close(got, expected),
        "Nine rows in steps of four add up wrongly.",
        cause="A row is added twice or never.",
        cure="In step `start`, n is start + tl.arange(0, BLOCK_ROWS), and n < end.",
        **shown,
    )


@EXERCISE.stage("edges")
def _gradient_edges(kernel: Any, seed: int) -> None:
    given = gradient_case([2], (5, 3), seed)
    run = _launched(kernel, given)
    run.demand_written("dw", "The second program has a column too.", "Mask with d < D and f < F.")
    expected, got = gradient(given, [2]), run.outputs["dw"]
    message = "With D = 5 and F = 3, where the blocks do not fit, the gradient is wrong."
    cause = "A row of dw is D long, not BLOCK_D, and one of `dout` F."
    cure = "dw[e, f, d] lies at (e * F + f) * D + d."
    require(close(got, expected), message, cause=cause, cure=cure, **facts(run, expected, got))


@EXERCISE.stage("ragged")
def _gradient_ragged(kernel: Any, seed: int) -> None:
    counts = [3, 2]
    given = gradient_case(counts, (4, 3), seed, blocks=(4, 2, 8))
    run = _launched(kernel, given)
    run.demand_written(
        "dw", "Every expert has a matrix of its own.", "It begins at dw_ptr + e * F * D."
    )
    expected, got = gradient(given, counts), run.outputs["dw"]
    shown = facts(run, expected, got)
    a, b = given["dout_ptr"], given["rows_ptr"]
    require(
        not close(got[0], a[:4].T @ b[:4]),
        "Expert 0 has 3 rows and was given 4.",
        cause="The fourth is the next expert's.",
        cure="Rows count as long as they are below *this* expert's end.",
        **shown,
    )
    require(
        not close(got[1], a.T @ b) and not close(got[1], a[:4].T @ b[:4] + a[4:].T @ b[4:]),
        "Expert 1 was given rows of expert 0 too.",
        cause="Expert 1 has rows of its own.",
        cure="Its loop begins where expert 0 ends.",
        **shown,
    )
    require(
        close(got, expected),
        "With two experts the gradients are wrong.",
        cause="An expert was given other rows than its own.",
        cure="Its rows begin at expert_offsets[e - 1], or 0, and end before expert_offsets[e].",
        **shown,
    )


@EXERCISE.stage("nobody's rows")
def _gradient_empty(kernel: Any, seed: int) -> None:
    counts = [0, 3, 0]
    given = gradient_case(counts, (3, 2), seed, blocks=(2, 8, 4))
    run = _launched(kernel, given)
    cause = (
        "An expert without rows has a gradient of zeros, and memory that was never written holds "
        "anything at all."
    )
    run.demand_written("dw", cause, "Store also when the loop never turns.")
    expected, got = gradient(given, counts), run.outputs["dw"]
    shown = facts(run, expected, got)
    message = "The gradient of an expert without rows must be zero, and is not."
    cause = "A row of another expert was added, or not all of its numbers begin at 0."
    cure = "Begin with tl.zeros, and let no row count from `end` on."
    require(close(got[::2], expected[::2]), message, cause=cause, cure=cure, **shown)
    message = "The experts without rows are right, the one with 3 rows is not."
    cause = "BLOCK_ROWS is 2 here: it takes two steps, and other blocks have other sizes."
    cure = "Use D and F for addresses, and the blocks' own sizes for steps."
    require(close(got, expected), message, cause=cause, cure=cure, **shown)


@EXERCISE.stage("half precision")
def _gradient_half(kernel: Any, seed: int) -> None:
    given = gradient_case([8], (2, 2), seed)
    signs = torch.tensor([1.0] * 4 + [-1.0] * 4)[:, None]  # up past the largest float16, and back
    dout = (300 + given["dout_ptr"]) * signs
    given |= {"rows_ptr": torch.full((8, 2), 300.0).half(), "dout_ptr": dout.half()}
    given |= {"dw_ptr": empty(1, 2, 2, dtype=torch.float16)}
    expected = gradient(given, [8])
    run = _launched(kernel, given)
    got = run.outputs["dw"].float()
    require(
        bool((got - expected).abs().max() < 1 + 2e-3 * expected.abs().max()),
        "In float16 the sum over the rows broke.",
        cause="Many rows meet in one number of dw.",
        cure="Sum in float32 and round once, when you store.",
        **facts(run, expected, got),
    )


@EXERCISE.stage("far apart")
def _gradient_far(kernel: Any, seed: int) -> None:
    if seed:
        return
    for far in ("rows", "dout", "dw"):
        with suppress(OSError):  # a machine that rations addresses skips the case
            _demand_wide(kernel, far, seed)


def _demand_wide(kernel: Any, far: str, seed: int) -> None:
    given, expected = far_rows(far, seed)
    n_experts = len(expected)
    run = launch(kernel, (n_experts, 1, 1), given, outputs=("dw",), causes=GRADIENT)
    run.demand_wide_offsets()
    require(
        close(run.outputs["dw"], expected),
        f"`{far}` has more than 2^32 numbers here, and the result is wrong.",
        cause="The offsets into its end do not fit into 32 bits, with a sign or without.",
        cure="Make rows and experts int64 before you multiply them, inside the loop.",
        **facts(run, expected, run.outputs["dw"]),
    )
