"""Chapter 09, exercise 9.2: count the choices of each block."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Run, Runs, launch
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="9.2",
    name="count_choices",
    title="Count the choices of each block",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("9.1",),
    version=2,  # any number of programs, and each row in one store
    hints=(
        "Compare every choice of the block with every expert at once. That is a tile of yes and "
        "no, BLOCK by EXPERTS; its column sums are the counts. Around it runs a loop over blocks.",
        "`expert_ids[:, None] == expert[None, :]` is the tile, with `expert = tl.arange(0, "
        "EXPERTS)`. Lanes behind the end must match no expert: what value should `other` give "
        "them? A program that starts at its own number and goes on in steps of "
        "`tl.num_programs(0)` meets nobody.",
        "for b in range(tl.program_id(0), tl.cdiv(n_choices, BLOCK), tl.num_programs(0)): ids = "
        "tl.load(expert_ids_ptr + at, mask=at < n_choices, other=-1); hits = (ids[:, None] == "
        "expert[None, :]).to(tl.int32); tl.store(counts_ptr + b * n_experts + expert, "
        "tl.sum(hits, axis=0), mask=expert < n_experts)",
    ),
    explanation="Every block has a row of its own, so nobody has to wait for anybody: no atomic "
    "operation, and the same numbers in any order of execution and for any number of programs. A "
    "grid that fits the machine (132 programs on an H100) and a loop over the work is called a "
    "persistent kernel: it starts once, and what it has loaded before may stay in registers. "
    "`other=-1` does double duty: lanes without a choice look like choices that were turned away.",
)

SIZES = ((1, 1, 4), (3, 2, 4), (7, 3, 4), (11, 5, 2), (21, 12, 8))  # choices, experts, block


def choices(n: int, n_experts: int, seed: int, *, turned_away: bool = False) -> Tensor:
    """Draw expert ids of n choices, with some -1 among them where choices are turned away."""
    random = generator(seed)
    ids = torch.randint(0, n_experts, (n,), generator=random, dtype=torch.int32)
    if turned_away:
        ids = ids.masked_fill(torch.rand(n, generator=random) < 0.4, -1)
        ids[n // 2] = -1
    return ids


def counts_of(expert_ids: Tensor, n_experts: int, block: int) -> Tensor:
    """Count by definition: (n_blocks, n_experts)."""
    rows = [[int((part == e).sum()) for e in range(n_experts)] for part in expert_ids.split(block)]
    return torch.tensor(rows, dtype=torch.int32)


def power_of_two(n: int) -> int:
    """The smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()


def _launch(
    kernel: Any, expert_ids: Tensor, n_experts: int, block: int, n_programs: int | None = None
) -> Run:
    n = len(expert_ids)
    n_blocks = -(-n // block)
    arguments = {
        "expert_ids_ptr": expert_ids,
        "counts_ptr": torch.full((n_blocks, n_experts), -7, dtype=torch.int32),
        "n_choices": n,
        "n_experts": n_experts,
        "BLOCK": block,
        "EXPERTS": power_of_two(n_experts),
    }
    causes = {
        ("counts", "store"): Why(
            "The table has n_experts columns and not EXPERTS.",
            "Use n_experts for the start of a row, and in the mask of the store.",
        ),
    }
    grid = (n_programs or n_blocks,)
    return launch(kernel, grid, arguments, outputs=("counts",), causes=causes)


def _launches(kernel: Any, seed: int) -> list[Run]:
    return [_launch(kernel, choices(n, e, seed), e, block) for n, e, block in SIZES]


RUNS = Runs(_launches)


@EXERCISE.stage("memory")
def _count_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("everybody once")
def _count_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        run.demand_no_races(
            "Block b writes row b of the table and nothing else.",
            "Begin its row at counts_ptr + b * n_experts.",
        )
        run.demand_not_read_early("counts")
        run.demand_written(
            "counts",
            "An expert that nobody chose still has its count, 0.",
            "Store a count for every expert below n_experts.",
        )


@EXERCISE.stage("counts")
def _count_values(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        ids, n_experts, block = (run.given[k] for k in ("expert_ids_ptr", "n_experts", "BLOCK"))
        expected, got = counts_of(ids, n_experts, block), run.outputs["counts"]
        facts = {"expected": expected, "got": got, "example": run.given}
        too_many = got - expected
        idle = -len(ids) % block
        in_one_column = bool((too_many[-1] > 0).sum() == 1) and int(too_many[-1].sum()) == idle
        require(
            close(got, expected) or not (idle and in_one_column and not too_many[:-1].any()),
            f"The last block counts {idle} choice{'s' if idle > 1 else ''} too many, "
            "all for one expert.",
            cause="Its lanes behind the end were given the id of an expert.",
            cure="A masked load fills them with `other`: give them an id that nobody has.",
            **facts,
        )
        require(
            close(got, expected),
            "Some counts are wrong.",
            **likely(got, expected, _slips(expected), _OTHER),
            **facts,
        )


_OTHER = Why(
    "Other choices were looked at than those of the block, or a column counts another id than its "
    "own.",
    "Row b counts the choices from b · BLOCK up to (b + 1) · BLOCK, column e those with the id e.",
)


def _slips(expected: Tensor) -> tuple[tuple[Tensor, Why], ...]:
    """Tables of known mistakes."""
    return (
        (
            expected.clamp(max=1),
            Why("This says whether an expert was chosen, not how often.", "Sum down the block."),
        ),
        (
            expected.cumsum(1).to(torch.int32),
            Why(
                "Each column holds the counts of the experts before it as well.",
                "Sum over the choices of the block, and not over the experts.",
            ),
        ),
        (
            expected.T.reshape(expected.shape),
            Why(
                "The table came in turned round, expert by expert.",
                "Block b begins at b * n_experts, and expert e stands e further on.",
            ),
        ),
        (
            expected.roll(1, dims=1),
            Why("Each count stands one column too far.", "Expert ids begin at 0."),
        ),
    )


@EXERCISE.stage("turned away")
def _count_dropped(answer: Any, seed: int) -> None:
    nobody = torch.full((3,), -1, dtype=torch.int32)
    for ids, n_experts, block in (
        (choices(3, 2, seed, turned_away=True), 2, 4),
        (choices(15, 11, seed, turned_away=True), 11, 8),
        (nobody, 4, 2),
    ):
        run = _launch(answer, ids, n_experts, block)
        expected = counts_of(ids, n_experts, block)
        require(
            close(run.outputs["counts"], expected),
            "With choices of the id -1, which were turned away, some counts are wrong.",
            cause="Such a choice counts for nobody, not for the first expert and not for the last.",
            cure="-1 equals no expert: compare the id as it is.",
            expected=expected,
            got=run.outputs["counts"],
            example=run.given,
        )


@EXERCISE.stage("any number of programs")
def _count_grid(answer: Any, seed: int) -> None:
    for n, n_experts, block, n_programs in ((9, 3, 2, 1), (11, 5, 2, 4), (5, 2, 4, 5)):
        ids = choices(n, n_experts, seed)
        run = _launch(answer, ids, n_experts, block, n_programs)
        n_blocks = -(-n // block)
        said = f"There are {n_blocks} blocks here, and the grid has {n_programs}"
        run.demand_no_races(
            f"Two programs count the same block. {said}.",
            "Start at tl.program_id(0), and go on in steps of tl.num_programs(0).",
        )
        run.demand_written(
            "counts",
            f"{said}: a program has to take more than one.",
            "Let each program loop over blocks, in steps of tl.num_programs(0), up to "
            "tl.cdiv(n_choices, BLOCK).",
        )
        expected, got = counts_of(ids, n_experts, block), run.outputs["counts"]
        require(
            close(got, expected),
            f"{said}. Some counts are wrong.",
            cause="With a program for each block they were right, so something is kept from one "
            "block to the next.",
            cure="Begin every turn of the loop with the choices of its own block.",
            expected=expected,
            got=got,
            example=run.given,
        )


@EXERCISE.stage("a row in one store")
def _count_stores(answer: Any, seed: int) -> None:
    run = _launch(answer, choices(12, 7, seed), 7, 4)
    stores = [access for access in run.seen.accesses if access.kind == "store"]
    require(
        len(stores) == 3,
        f"3 rows of 7 counts were written in {len(stores)} stores.",
        cause="Experts are counted one after the other, and each count is stored alone. With 256 "
        "experts that is 256 turns and 256 trips to memory.",
        cure="Compare all choices with all experts in one tile, `expert_ids[:, None] == "
        "expert[None, :]`, and store its column sums as one block.",
        example=run.given,
    )
