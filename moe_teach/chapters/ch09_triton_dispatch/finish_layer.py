"""Chapter 09, exercise 9.7: the end of a layer with little memory traffic (an open task)."""

from typing import Any

import numpy as np
from torch import Tensor

from moe_teach.chapters.ch09_triton_dispatch.layer_ends import (
    EPSILON,
    by_definition,
    layer_end,
    least_sectors,
)
from moe_teach.chapters.ch09_triton_dispatch.sectors import sectors
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.goals import Goal
from moe_teach.judging.launched import Run
from moe_teach.judging.launching import Runs, call
from moe_teach.judging.reasons import Why, likely

GOAL = Goal(
    quantity="memory traffic",
    unit="times the least",
    baseline=1.97,
    target=1.15,
    more_is_better=False,
    limit="With four tokens in a program, about 1.05 is the end.",
    cause="Something is loaded or stored that was in registers a moment before, or is loaded anew "
    "for each token, or alone where eight could come in one sector.",
    cure="Add up what one token costs: its rows of y, its x, out and normed are the least. What "
    "else is there, and how many tokens could share it?",
)
EXERCISE = Exercise(
    id="9.7",
    name="finish_layer",
    title="Open task: the end of a layer in few sectors",
    points=4,
    difficulty=4,
    importance=4,
    minutes=40,
    needs=("9.5",),
    changes_inputs=True,  # its outputs; the stage "memory" holds the inputs to what they were
    goal=GOAL,
    hints=(
        "One kernel can do all three: what it has mixed is in registers, so nobody needs to store "
        "it in order to add x, nor to load the sum in order to norm it.",
        "A program may have four tokens. What is the same for all of them, `weight`, is loaded "
        "once for four then. And their gates and slots are neighbours in memory.",
        "Begin with your tile of 9.5, BLOCK_T = 4 and BLOCK_D wide enough for the whole row: out = "
        "x + mixture, a tile; tl.sum(out * out, axis=1) is one number for each of its tokens; "
        "store the tile, and then the tile divided by the root, times weight[None, :].",
    ),
    explanation="Nothing is computed less often; only trips to memory are gone. Such kernels do so "
    "little with each number that their time is the time of their traffic, so people fuse them. "
    "What remains above 1 is `weight`, once for every program, and a sector of gates and slots "
    "that is not quite full. More tokens in a program would share it among more, and leave fewer "
    "programs for 132 multiprocessors.",
)

SIZES = ((22, 40, 2), (9, 24, 3))  # tokens, columns, choices; rows are whole sectors
MOST_TOKENS, MOST_LAUNCHES = 4, 3
INPUTS = ("y", "gates", "slot", "x", "weight")


def _runs(finish: Any, seed: int) -> list[Run]:
    runs = []
    for sizes in (*SIZES, (1, 8, 1)):
        arguments = layer_end(sizes, seed)
        before = {name: arguments[name].clone() for name in INPUTS}
        run = call(_kept(finish), arguments, outputs=("out", "normed"))
        for name in INPUTS:
            require(
                arguments[name].equal(before[name]),
                f"`{name}` is an input, and it is not what it was before.",
                cause="It was changed outside of a kernel.",
                cure="Let kernels do the work, and write to `out` and `normed` only.",
                example=run.given,
            )
        runs.append(run)
    return runs


def _kept(finish: Any) -> Any:
    """Call `finish`, and demand its outputs back."""

    def called(**given: Any) -> None:
        got = finish(**given)
        require(
            isinstance(got, tuple)
            and len(got) == 2
            and got[0] is given["out"]
            and got[1] is given["normed"],
            "Return the two outputs that you were handed, `out, normed`.",
            cause="The next block reads what is returned, and it is something else.",
            cure="End in `return out, normed`.",
            got=got,
        )

    return called


RUNS = Runs(_runs)


@EXERCISE.stage("memory")
def _finish_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("everybody once")
def _finish_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        for name in ("out", "normed"):
            run.demand_written(name, "Every token has its row in both outputs.")
            run.demand_not_read_early(name)
        run.demand_no_races("Two programs of one launch meet at a number, and one of them stores.")
        for name in ("y", "x", "weight", "gates", "slot"):
            _demand_read(run, name)


def _demand_read(run: Run, name: str) -> None:
    """Reject work that torch did: kernels must have seen every number that counts."""
    slot, read = run.given["slot"].numpy(), run.seen.readers(name) > 0
    if name == "gates":
        read = read[slot >= 0]
    elif name == "y":
        read = read[slot[slot >= 0]]
    require(
        read.all(),
        f"No kernel has read all of `{name}`, which the outputs depend on.",
        cause="Something was worked out by torch, before the launch or in a number handed to it.",
        cure="Hand the kernels the tensors and sizes as they are.",
        example=run.given,
    )


@EXERCISE.stage("the output")
def _finish_out(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        expected, got = by_definition(run.given)[0], run.outputs["out"]
        x = run.given["x"].double()
        slips = (
            (expected - x, Why("The token itself, `x`, was not added.", "out = x + mixture")),
            (x, Why("Only `x` arrives, and no answer.", "out = x + mixture")),
        )
        other = Why("Slot, gate and answer may not belong together.", "Look at 9.5 again.")
        require(
            close(got, expected),
            "`out` is not x plus the mixture of the answers.",
            **likely(got, expected, slips, other),
            expected=expected,
            got=got,
            example=run.given,
        )


@EXERCISE.stage("the norm")
def _finish_norm(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        (out, expected), got = by_definition(run.given), run.outputs["normed"]
        slips = _norms_of_mistakes(out, run.given["weight"].double())
        other = Why(
            "Each token has a size of its own, the root of the mean of its squares.",
            "Sum along the columns, axis=1 of a tile, with zeros in idle lanes.",
        )
        require(
            close(got, expected),
            "`out` is right, and `normed` is not its norm.",
            **likely(got, expected, slips, other),
            expected=expected,
            got=got,
            example=run.given,
        )


def _norms_of_mistakes(out: Tensor, weight: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Give what comes out where a norm forgets something."""
    d_model = out.shape[1]
    lanes = 1 << (d_model - 1).bit_length()
    squares = out.square().sum(dim=1, keepdim=True)
    bare = out / (squares / d_model + EPSILON).sqrt()
    return (
        (bare, Why("`weight` is missing.", "Multiply by it, column by column.")),
        (
            out / (squares / lanes + EPSILON).sqrt() * weight,
            Why("The mean was taken over the lanes, idle ones too.", "Divide the sum by D."),
        ),
        (
            out / (squares + EPSILON).sqrt() * weight,
            Why("The sum of the squares stands where their mean belongs.", "Divide it by D."),
        ),
        (
            out / (squares / d_model).sqrt() * weight,
            Why("1e-6 is missing under the root.", "Add it to the mean."),
        ),
    )


@EXERCISE.stage("work for many")
def _finish_budget(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        n_launches = len(run.seen.launches)
        require(
            n_launches <= MOST_LAUNCHES,
            f"{n_launches} kernels were launched for one layer; {MOST_LAUNCHES} are allowed.",
            cause="Each launch begins anew, and waits for the one before.",
            cure="Let the grid go through the tokens, and not a loop in Python.",
            example=run.given,
        )
        for name in ("out", "normed"):
            most = _most_tokens(run, name)
            require(
                most <= MOST_TOKENS,
                f"One program stores {most} tokens of `{name}`; {MOST_TOKENS} are allowed.",
                cause="A GPU has many multiprocessors, and few programs leave most of them idle.",
                cure=f"Launch a program for each {MOST_TOKENS} tokens.",
                example=run.given,
            )


def _most_tokens(run: Run, name: str) -> int:
    """Find the program that stores to most rows, and count them."""
    rows = run.outputs[name].shape
    touched = run.seen.touch_map(name, "store").reshape(-1, *rows).any(axis=2)
    return int(np.max(touched.sum(axis=1)))


@GOAL.measure
def _finish_traffic(answer: Any, seed: int) -> float:
    runs = RUNS.of(answer, seed)[: len(SIZES)]
    shares = [sectors(run.seen) / least_sectors(run.given, run.outputs) for run in runs]
    return sum(shares) / len(shares)
