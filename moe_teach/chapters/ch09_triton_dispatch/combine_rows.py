"""Chapter 09, exercise 9.5: bring the answers home."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch09_triton_dispatch.mixtures import OTHER, mixture, routed, slips
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.launching import Run, Runs, launch
from moe_teach.judging.reasons import likely

EXERCISE = Exercise(
    id="9.5",
    name="combine_rows",
    title="Bring the answers home",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    needs=("9.4",),
    version=2,  # offsets must be wide
    hints=(
        "Start a tile of float32 zeros and let each of the K choices add its part: load the slots "
        "of your tokens, then the rows they name, then add gate times answer.",
        "In pass k, token t finds its slot and its gate at `token * TOP_K + k`. Load the answers "
        "with a mask that is false where the slot is -1, and with other=0.0. Widen slots and "
        "tokens with `.to(tl.int64)` before you multiply them by d_model.",
        "mixture = tl.zeros((BLOCK_T, BLOCK_D), tl.float32); for k in range(TOP_K): slot (other=-1,"
        " then .to(tl.int64)) and gate (other=0.0) at token * TOP_K + k; answer = tl.load(y_ptr + "
        "slot[:, None] * d_model + column[None, :], mask=(slot >= 0)[:, None] & (column < d_model)"
        "[None, :], other=0.0); mixture += gate[:, None] * answer.to(tl.float32)",
    ),
    explanation="Each token collects; no row adds itself to a token. So every tile has one owner "
    "and every sum one order, and the result is the same to the last bit on every run. The other "
    "direction needs atomic additions of floats, whose order the hardware picks anew each time.",
)

# tokens, width, choices, blocks
SIZES = ((1, 1, 1, 2, 4), (3, 4, 2, 2, 4), (2, 6, 2, 2, 4), (5, 3, 3, 4, 2))
FAR = 2**30 + 7  # numbers in a row: two rows are beyond int32, four beyond uint32


def _launch(
    kernel: Any, y: Tensor, gates: Tensor, slot: Tensor, blocks: tuple[int, int] = (2, 4)
) -> Run:
    n_tokens, d_model = len(gates), y.shape[1]
    out = torch.full((n_tokens, d_model), torch.nan, dtype=torch.float16)
    grid = (-(-n_tokens // blocks[0]), -(-d_model // blocks[1]))
    return _launched(kernel, grid, (y, gates, slot, out), d_model, blocks)


def _launched(
    kernel: Any,
    grid: tuple[int, int],
    tensors: tuple[Tensor, ...],
    d_model: int,
    blocks: tuple[int, int],
) -> Run:
    names = ("y_ptr", "gates_ptr", "slot_ptr", "out_ptr")
    arguments: dict[str, Any] = dict(zip(names, tensors, strict=True))
    n_tokens, top_k = arguments["gates_ptr"].shape
    arguments |= {"n_tokens": n_tokens, "d_model": d_model, "TOP_K": top_k}
    arguments |= {"BLOCK_T": blocks[0], "BLOCK_D": blocks[1]}
    return launch(kernel, grid, arguments, outputs=("out",))


def _facts(run: Run, expected: Tensor) -> dict[str, Any]:
    return {"expected": expected, "got": run.outputs["out"], "example": run.given}


def _launches(kernel: Any, seed: int) -> list[Run]:
    return [_launch(kernel, *routed(sizes, seed, 1.0), sizes[3:]) for sizes in SIZES]


RUNS = Runs(_launches)


@EXERCISE.stage("memory")
def _combine_memory(answer: Any, seed: int) -> None:
    RUNS.fresh(answer, seed)


@EXERCISE.stage("everybody once")
def _combine_once(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        run.demand_no_atomics(
            "On a GPU the additions would come in another order on each run, and float sums "
            "depend on it.",
            "Sum in a tile of your own and store once.",
        )
        run.demand_no_races(
            "Each tile of `out` belongs to one program.",
            "Let program (i, j) store the tokens from i · BLOCK_T and the columns from j · BLOCK_D "
            "on, once.",
        )
        run.demand_not_read_early("out")
        run.demand_written(
            "out",
            "Some tile has no program, or the mask of its store lets too few through.",
            "Program (i, j) owns tokens from i · BLOCK_T and columns from j · BLOCK_D on.",
        )


@EXERCISE.stage("mixture")
def _combine_mixture(answer: Any, seed: int) -> None:
    for run in RUNS.of(answer, seed):
        y, gates, slot = (run.given[f"{name}_ptr"] for name in ("y", "gates", "slot"))
        expected, got = mixture(y, gates, slot), run.outputs["out"]
        if close(got, expected):
            continue
        facts = _facts(run, expected)
        plain = mixture(y, torch.ones_like(gates), slot)
        require(
            not close(got, plain),
            "The answers were added up without their gates.",
            cause="Every answer counts in full here, whatever the router thought of its expert.",
            cure="Multiply each answer by its gate, so that the router has a say.",
            **facts,
        )
        last = mixture(y, gates * (torch.arange(gates.shape[1]) == gates.shape[1] - 1), slot)
        require(
            not close(got, last),
            "Only the last choice arrives.",
            cause="Each pass of the loop replaces the tile.",
            cure="Add to it: `mixture += ...`.",
            **facts,
        )
        beyond_zero = mixture(y, gates * (slot > 0), slot)
        require(
            not close(got, beyond_zero),
            "The answer in row 0 is missing.",
            cause="Slot 0 is a row like any other; only -1 means turned away.",
            cure="The mask asks for slot >= 0.",
            **facts,
        )
        require(
            False,
            "Nobody was turned away here, and the mixtures are still wrong.",
            **likely(got, expected, slips(y, gates, slot), OTHER),
            **facts,
        )


@EXERCISE.stage("turned away")
def _combine_dropped(answer: Any, seed: int) -> None:
    for sizes in ((2, 3, 2), (2, 4, 3)):
        y, gates, slot = routed(sizes, seed, 0.5)
        slot[0] = torch.where(slot[0] == slot[0].max(), slot[0], -1)  # one choice at most is left
        run = _launch(answer, y, gates, slot)
        expected, got = mixture(y, gates, slot), run.outputs["out"]
        if close(got, expected):
            continue
        left = gates * (slot >= 0)
        raised = left / left.sum(dim=1, keepdim=True)
        is_raised = close(got.nan_to_num(), mixture(y, raised.nan_to_num(), slot))
        require(
            not is_raised,
            "The gates of the remaining choices are larger here than those that were given.",
            cause="They were raised to make up for the lost one.",
            cure="Leave them as they are: do not divide by their sum.",
            **_facts(run, expected),
        )
        require(
            False,
            "With choices of slot -1, which were turned away, the mixture is wrong.",
            cause="They add nothing. Read from row 0 instead, one adds somebody else's answer.",
            cure="Mask the load of the answer with slot >= 0, other=0.0, and go on with the "
            "token's other choices.",
            **_facts(run, expected),
        )


@EXERCISE.stage("nobody served")
def _combine_nobody(answer: Any, seed: int) -> None:
    y, gates, slot = routed((1, 4, 2), seed, 0.0)  # and a lane without a token beside it
    run = _launch(answer, y, gates, slot)
    expected = torch.zeros(1, 4, dtype=torch.float16)
    require(
        close(run.outputs["out"], expected),
        "A token that lost all its choices gets zeros, and something else is there.",
        cause="Zeros have to be stored too: `out` comes to you full of old numbers.",
        cure="Store every token below n_tokens, whether an answer came or not.",
        **_facts(run, expected),
    )


@EXERCISE.stage("precision")
def _combine_precision(answer: Any, seed: int) -> None:
    random = generator(seed)
    odd = 1 + 2 * torch.randint(0, 15, (3,), generator=random)
    y = torch.stack([torch.full((3,), 4096), odd, torch.full((3,), -4096)]).to(torch.float16)
    slot = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    run = _launch(answer, y, torch.ones(1, 3), slot)
    expected = odd[None].to(torch.float16)
    require(
        torch.equal(run.outputs["out"], expected),
        "4096 plus an odd number minus 4096 should give the odd number back.",
        cause="float16 has no odd numbers above 2048.",
        cure="Sum in float32, and round only when you store.",
        **_facts(run, expected),
    )
    # The gate and the product are as fine: both lie between two neighbours of float16.
    above = torch.randint(1, 4, (1, 1), generator=random) / 4096
    left = 1024 * float(above)
    y = torch.tensor([[1024.0], [-1024.0]]).to(torch.float16)
    run = _launch(answer, y, torch.cat([1 + above, torch.ones(1, 1)], dim=1), slot[:, :2])
    expected = (1024 * above).to(torch.float16)
    require(
        torch.equal(run.outputs["out"], expected),
        f"1024 times a gate of {1 + float(above):.6f}, minus 1024, should leave {left:g}.",
        cause="float16 has neither that gate nor that product.",
        cure="Round nothing but the sum to float16.",
        **_facts(run, expected),
    )


@EXERCISE.stage("far apart")
def _combine_far(answer: Any, seed: int) -> None:
    if seed:
        return
    for far in ("y", "out"):
        with suppress(OSError):  # a machine that rations addresses skips the case
            _demand_wide(answer, far, seed)


def _demand_wide(answer: Any, far: str, seed: int) -> None:
    """Launch one program, for the first columns of rows that are very long."""
    from moe_teach.analysis.kernel_watch import vast

    slot = torch.tensor([[2], [4]] if far == "y" else [[0]] * 5, dtype=torch.int32)
    n_tokens, n_rows = len(slot), int(slot.max()) + 1
    y = vast((n_rows, 4), (FAR, 1), dtype=torch.float16)
    y.copy_(torch.randn(n_rows, 4, generator=generator(seed)))
    out = vast((n_tokens, 4), (FAR, 1), dtype=torch.float16)
    tensors = y, torch.ones(n_tokens, 1), slot, out
    run = _launched(answer, (1, 1), tensors, FAR, (8, 4))
    run.demand_wide_offsets()
    expected = y[slot[:, 0].long()]
    require(
        close(run.outputs["out"], expected),
        f"The rows of {far} are {FAR:,} numbers long here, and some came out wrong.",
        cause="The offsets of the last ones do not fit into 32 bits, with a sign or without.",
        cure="Make slots and tokens int64 before you multiply them.",
        **_facts(run, expected),
    )
