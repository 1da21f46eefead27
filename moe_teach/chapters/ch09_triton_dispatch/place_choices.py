"""Chapter 09, exercise 9.3: give every choice its row."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch09_triton_dispatch.count_choices import choices, counts_of, power_of_two
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.launching import Run, Runs, launch
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="9.3",
    name="place_choices",
    title="Give every choice its row",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("9.2",),
    version=2,  # of `base` only what the choices need
    hints=(
        "A choice needs two numbers: where its block's rows for its expert begin, and how many "
        "choices of the *same* expert stand before it in the block. Their sum is its row.",
        "The first is a load whose addresses are made of what was loaded: `base_ptr + block * "
        "n_experts + expert_ids`, masked where an id is -1. For the second, compare all choices of "
        "the block with all of them: a tile, BLOCK by BLOCK, of who has the same expert and of who "
        "stands earlier.",
        "lane = tl.arange(0, BLOCK); earlier = (ids[:, None] == ids[None, :]) & (lane[None, :] < "
        "lane[:, None]); row = tl.load(base_ptr + block * n_experts + ids, mask=ids >= 0, other=0) "
        "+ tl.sum(earlier.to(tl.int32), axis=1); store tl.where(ids >= 0, row, -1) for every "
        "choice, and choice // TOP_K at token_idx_ptr + row, masked by ids >= 0.",
    ),
    explanation="This is the step for which others sort. The order within an expert is fixed by "
    "arithmetic, so it is the order of the choices on every run and on every machine. Handing out "
    "rows with an atomic counter would be shorter, and then the layout would change from run to "
    "run: the same sums, in another order. Comparing choices with choices costs BLOCK times BLOCK, "
    "whatever the number of experts; a tile of choices by experts costs BLOCK times EXPERTS. With "
    "many experts and small blocks the first is the smaller one.",
)

# choices, experts, choices of a token, block
SIZES = ((1, 1, 1, 4), (3, 2, 1, 4), (10, 3, 2, 4), (21, 12, 3, 8), (6, 2, 2, 2))
MANY = 40  # experts, far more than a block has choices


def _base(counts: Tensor) -> Tensor:
    ends = counts.sum(0).cumsum(0)
    before = counts.cumsum(0) - counts
    return (ends - counts.sum(0) + before).to(torch.int32)


def _slots(expert_ids: Tensor, n_experts: int) -> tuple[Tensor, list[int]]:
    order = [i for e in range(n_experts) for i in (expert_ids == e).nonzero()[:, 0].tolist()]
    slot = torch.full_like(expert_ids, -1)
    slot[order] = torch.arange(len(order), dtype=torch.int32)
    return slot, order


def _launch(kernel: Any, expert_ids: Tensor, n_experts: int, top_k: int, block: int) -> Run:
    n = len(expert_ids)
    counts = counts_of(expert_ids, n_experts, block)
    n_rows = int(counts.sum())
    arguments = {
        "expert_ids_ptr": expert_ids,
        "base_ptr": _base(counts),
        "slot_ptr": torch.full((n,), -7, dtype=torch.int32),
        "token_idx_ptr": torch.full((n_rows,), -7, dtype=torch.int32),
        "n_choices": n,
        "n_experts": n_experts,
        "TOP_K": top_k,
        "BLOCK": block,
        "EXPERTS": power_of_two(n_experts),
    }
    causes = {
        ("token_idx", "store"): Why(
            "Rows go from 0 to N - 1. Either the count of earlier choices includes the choice "
            "itself, or a choice that was turned away was given a row.",
            "Subtract the choice itself from the running sum, and mask the store by who was kept.",
        ),
        ("base", "load"): Why(
            "The table has one row of n_experts for each block. An id of -1 is no expert, and "
            "lanes behind the end have no choice at all.",
            "Begin at block * n_experts, and mask the load with expert_ids >= 0.",
        ),
    }
    outputs = ("slot", "token_idx")
    return launch(kernel, (len(counts),), arguments, outputs=outputs, causes=causes)


def _launches(kernel: Any, seed: int) -> list[Run]:
    return [
        _launch(kernel, choices(n, n_experts, seed), n_experts, top_k, block)
        for n, n_experts, top_k, block in SIZES
    ]


RUNS = Runs(_launches)


@EXERCISE.stage("memory")
def _place_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("a row of its own")
def _place_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        run.demand_no_races(
            "Two blocks use the same rows: each must begin where `base` tells *it* to.",
            "Row b of the table begins at base_ptr + b * n_experts.",
            within=Why(
                "Two choices of one block share a row.",
                "Count the earlier choices of the *same* expert.",
            ),
        )
        run.demand_written(
            "slot", "Every choice needs its slot.", "Mask this store with choice < n_choices."
        )
        run.demand_written(
            "token_idx",
            "Every choice that was not turned away has a row, so every row has a token.",
            "Store the token at token_idx_ptr plus the row of its choice.",
        )


@EXERCISE.stage("slots")
def _place_slots(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        expected, _ = _slots(run.given["expert_ids_ptr"], run.given["n_experts"])
        require(
            close(run.outputs["slot"], expected),
            "Each choice has a row of its own, but not the right one.",
            cause="Within an expert the rows follow the order of the choices, earlier ones first.",
            cure="Add to the start of the expert how many choices of the block went there before: "
            "the running sum, less the choice itself.",
            expected=expected,
            got=run.outputs["slot"],
            example=run.given,
        )


@EXERCISE.stage("tokens")
def _place_tokens(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        _, order = _slots(run.given["expert_ids_ptr"], run.given["n_experts"])
        top_k, got = run.given["TOP_K"], run.outputs["token_idx"]
        expected = torch.tensor(order, dtype=torch.int32) // top_k
        facts = {"expected": expected, "got": got, "example": run.given}
        require(
            top_k == 1 or not close(got, torch.tensor(order, dtype=torch.int32)),
            "`token_idx` names choices where it should name tokens.",
            cause="The K choices of a token stand side by side.",
            cure="Choice i belongs to token i // TOP_K.",
            **facts,
        )
        require(
            close(got, expected),
            "The slots are right, but `token_idx` is not.",
            cause="At row `slot[i]` stands the token of choice i, and i counts through all blocks.",
            cure="Store choice // TOP_K at token_idx_ptr + row.",
            **facts,
        )


@EXERCISE.stage("turned away")
def _place_dropped(answer: Any, seed: int) -> None:
    nobody = torch.full((3,), -1, dtype=torch.int32)
    for ids, n_experts, top_k, block in (
        (choices(5, 2, seed, turned_away=True), 2, 1, 4),
        (choices(12, 3, seed, turned_away=True), 3, 2, 8),
        (nobody, 2, 1, 4),
    ):
        run = _launch(answer, ids, n_experts, top_k, block)
        slot, order = _slots(ids, n_experts)
        tokens = torch.tensor(order, dtype=torch.int32) // top_k
        got = run.outputs
        run.demand_written(
            "slot",
            "A choice that was turned away has a slot too, -1.",
            "Mask the store by who exists, and choose between the row and -1 with tl.where.",
        )
        _require_slots(run, ids, slot)
        run.demand_no_races(
            "One of them may be a choice that was turned away, and has no row.",
            "Mask the store to `token_idx` by who was kept, not by who exists.",
        )
        require(
            close(got["token_idx"], tokens),
            "With choices turned away the tokens no longer stand in the rows of their choices.",
            cause="Somebody who was turned away stored a token as well, in somebody else's row.",
            cure="Mask the store to `token_idx` by who was kept, not by who exists.",
            expected=tokens,
            got=got["token_idx"],
            example=run.given,
        )


def _require_slots(run: Any, ids: Tensor, slot: Tensor) -> None:
    got = run.outputs["slot"]
    kept = ids >= 0
    require(
        close(got, slot) or not close(got[kept], slot[kept]),
        "The choices with the id -1 have other slots than -1.",
        cause="A sum over an empty line of the table gives 0, which is somebody else's row.",
        cure="Choose between the row and -1 with tl.where(ids >= 0, ...).",
        expected=slot,
        got=got,
        example=run.given,
    )
    require(
        close(got, slot),
        "Beside choices with the id -1, some of the others have a wrong slot.",
        cause="The others close ranks: who was turned away takes up no row, and is no choice "
        "of any expert.",
        cure="-1 equals no expert: compare the id as it is, also where a lane has no choice.",
        expected=slot,
        got=got,
        example=run.given,
    )


@EXERCISE.stage("only what is needed")
def _place_loads(answer: Any, seed: int) -> None:
    ids = choices(12, MANY, seed, turned_away=True)
    run = _launch(answer, ids, MANY, 2, 4)
    slot, _ = _slots(ids, MANY)
    _require_slots(run, ids, slot)
    kept = int((ids >= 0).sum())
    loads = [a for a in run.seen.accesses if (a.buffer, a.kind) == ("base", "load")]
    loaded = sum(load.elements.size for load in loads)
    way = "with a whole row of `base`" if len(loads) <= 3 else "expert after expert"
    require(
        loaded <= kept,
        f"{kept} choices of {MANY} experts were placed, and {loaded} numbers of `base` were "
        f"loaded, in {len(loads)} load{'s' * (len(loads) > 1)}.",
        cause=f"The kernel walks through all experts, {way}, and most of them nobody in the block "
        "has chosen.",
        cure="Load with one address for each choice, base_ptr + block * n_experts + expert_ids, "
        "masked where an id is -1. How many chose the same expert before, the choices know among "
        "themselves.",
        example=run.given,
    )
