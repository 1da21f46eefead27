"""Chapter 09, exercise 9.1: copy, and sign your work."""

from typing import Any

import torch

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Run, Runs, launch

EXERCISE = Exercise(
    id="9.1",
    name="copy_and_sign",
    title="Copy, and sign your work",
    points=1,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "A program first works out which numbers are its own: a block of BLOCK neighbours that "
        "starts at its own number times BLOCK. Then it asks which of them exist at all.",
        "`at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)` are the places, and `at < n` is the "
        "mask. Load, store and the second store all need it.",
        "numbers = tl.load(x_ptr + at, mask=at < n); tl.store(out_ptr + at, numbers, mask=at < n); "
        "tl.store(owner_ptr + at, tl.program_id(0), mask=at < n)",
    ),
    explanation="One mask, used three times. A load without it reads a stranger's memory and may "
    "end the program; a store without it overwrites that memory and nobody notices until much "
    "later. The places behind the end stay without work: that is the price of blocks of one size.",
)

SIZES = ((1, 4), (4, 4), (7, 4), (11, 8), (5, 2), (3, 1))  # numbers, block


def _launches(kernel: Any, seed: int) -> list[Run]:
    runs = []
    for n, block in SIZES:
        given = {
            "x_ptr": torch.randn(n, generator=generator(seed)),
            "out_ptr": torch.full((n,), torch.nan),
            "owner_ptr": torch.full((n,), -7, dtype=torch.int32),
        }
        grid = (-(-n // block),)
        arguments = {**given, "n": n, "BLOCK": block}
        runs.append(launch(kernel, grid, arguments, outputs=("out", "owner")))
    return runs


RUNS = Runs(_launches)


@EXERCISE.stage("memory")
def _copy_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("everybody once")
def _copy_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        run.demand_no_races(
            "Each program needs places of its own, and here they begin elsewhere.",
            "Let them begin at tl.program_id(0) * BLOCK.",
        )
        for name in ("out", "owner"):
            run.demand_written(
                name,
                "Every number below n belongs to some program, so the mask's limit may be too low.",
                "Mask all three accesses with at < n.",
            )


@EXERCISE.stage("copies")
def _copy_values(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        expected, got = run.given["x_ptr"], run.outputs["out"]
        require(
            close(got, expected),
            "`out` is not a copy of `x`.",
            cause="Another value was stored than the one that was loaded from there.",
            cure="Store what was loaded, at the place it was loaded from, and in its own dtype.",
            expected=expected,
            got=got,
            example=run.given,
        )


@EXERCISE.stage("owners")
def _copy_owners(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        n, block = run.given["n"], run.given["BLOCK"]
        expected = torch.arange(n, dtype=torch.int32) // block
        did = torch.from_numpy(run.seen.owner("out"))
        require(
            close(did, expected.long()),
            "The programs share the work in another way than asked.",
            cause="Program p owns BLOCK *neighbours*, from p · BLOCK on: these are read in one go, "
            "scattered numbers are not.",
            cure="Begin the block at tl.program_id(0) * BLOCK, and add tl.arange(0, BLOCK).",
            expected=expected,
            got=did,
            example=run.given,
        )
        require(
            close(run.outputs["owner"], expected),
            "The numbers were copied by the right programs, but `owner` says otherwise.",
            cause="`owner` holds the program's number, which counts from 0.",
            cure="Store tl.program_id(0) for each number that was copied.",
            expected=expected,
            got=run.outputs["owner"],
            example=run.given,
        )
