"""Chapter 07, exercise 7.2: experts cut into parts whose outputs add up."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensors
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="7.2",
    name="split_experts",
    title="Cut experts into parts",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("7.1",),
    hints=(
        "Find the axis of hidden units in each matrix: it is F, and it is not the same axis in all "
        "three. Cut that axis and no other, and give the same units to the same part everywhere.",
        "In w_gate and w_up the hidden units are the second axis, right after E, so a reshape is "
        "enough. In w_down they are the last: cut it with `unflatten(-1, (split, F // split))`, "
        "and then move the new axis next to E before you flatten.",
        "w_up.reshape(E * split, F // split, D), the same for w_gate; "
        "w_down.unflatten(-1, (split, F // split)).movedim(2, 1).flatten(0, 1)",
    ),
    explanation="No hidden unit talks to another inside an expert, so the sum over them can be cut "
    "anywhere. This is why a finer layer can do all that the coarse one could: choose all parts of "
    "an expert together. A reshape of w_down keeps the numbers and mixes the units up, because it "
    "cuts the memory in order, and in memory the last axis runs fastest.",
)

SIZES = ((1, 2, 1, 2), (1, 4, 3, 2), (1, 15, 4, 5), (1, 6, 7, 1))  # E, F, D, split
MANY = ((2, 2, 3, 2), (3, 6, 5, 3), (7, 10, 4, 2), (5, 3, 2, 1), (2, 24, 3, 12))


def _inputs(sizes: tuple[int, ...], seed: int) -> dict[str, Any]:
    n_experts, d_ff, d_model, split = sizes
    random = generator(seed)
    wide, narrow = (n_experts, d_ff, d_model), (n_experts, d_model, d_ff)
    shapes = {"w_gate": wide, "w_up": wide, "w_down": narrow}
    drawn = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return {**drawn, "split": split}


def _say(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """What every expert says of every token: (E, T, D)."""
    x = x.to(w_gate.dtype)
    return (silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT


def _cut(w_gate: Tensor, w_up: Tensor, w_down: Tensor, split: int) -> tuple[Tensor, ...]:
    width = w_up.shape[1] // split
    cut = [w.unflatten(1, (split, width)).flatten(0, 1) for w in (w_gate, w_up, w_down.mT)]
    return cut[0], cut[1], cut[2].mT


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *MANY):
        n_experts, d_ff, d_model, split = sizes
        given = _inputs(sizes, seed)
        got = answer(**given)
        require_tensors(got, ("w_gate", "w_up", "w_down"), given)
        part = (n_experts * split, d_ff // split, d_model)
        expected = (part, part, (part[0], part[2], part[1]))
        shapes = tuple(tuple(tensor.shape) for tensor in got)
        require(
            shapes == expected or shapes[0] != (part[0], d_ff, d_model),
            "The parts are as wide as the whole.",
            cause="These are copies of the experts.",
            cure="Each part keeps only its share of the F hidden units.",
            expected=expected,
            got=shapes,
            example=given,
        )
        down = (expected[2][0], expected[2][2], expected[2][1])
        require(
            shapes == expected or shapes != (part, part, down),
            "w_down lies on its side.",
            cause="It was cut with the hidden units in front.",
            cure="Turn it back so that D comes first.",
            expected=expected,
            got=shapes,
            example=given,
        )
        require(
            shapes == expected,
            "The parts have other shapes.",
            cause="Another axis was cut, or the parts have an axis of their own.",
            cure="There are E * split parts, and each has F / split hidden units: the second axis "
            "of w_gate and w_up, and the last of w_down. The width D of a token is never cut.",
            expected=expected,
            got=shapes,
            example=given,
        )


@EXERCISE.stage("one expert")
def _one_expert(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _inputs(sizes, seed)
        matrices = [given[name] for name in ("w_gate", "w_up", "w_down")]
        x = torch.randn(5, sizes[2], generator=generator(seed + 1))
        parts = answer(**given)
        expected, got = _say(x, *matrices)[0], _say(x, *parts).sum(dim=0)
        shown = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(given["split"] * got, expected),
            "The parts add up to 1 / split of the whole.",
            cause="Outputs are summed, not averaged.",
            cure="Leave the numbers in w_down as they are.",
            **shown,
        )
        turned = _say(x, parts[1], parts[0], parts[2]).sum(dim=0)
        require(
            close(got, expected) or not close(turned, expected),
            "The outputs of the parts do not add up to the expert's output.",
            cause="w_gate and w_up changed places.",
            cure="silu opens by w_gate; return w_gate first.",
            **shown,
        )
        cut = matrices[2].reshape(parts[2].shape)
        require(
            close(got, expected) or sizes[2] == 1 or not close(parts[2], cut),
            "The outputs of the parts do not add up to the expert's output.",
            cause="`reshape` cuts w_down in the order of memory, and there the hidden units run "
            "fastest: the parts got pieces of rows.",
            cure="Cut the last axis alone, then move the parts to the front.",
            **shown,
        )
        require(
            close(got, expected),
            "The outputs of the parts do not add up to the expert's output.",
            cause="A part holds other hidden units in one matrix than in another, or some unit is "
            "in two parts or in none, or a number was changed.",
            cure="Cut all three the same way: the *same* units in w_gate, w_up and w_down.",
            **shown,
        )


@EXERCISE.stage("side by side")
def _side_by_side(answer: Any, seed: int) -> None:
    for sizes in MANY:
        given = _inputs(sizes, seed)
        n_experts, split = sizes[0], sizes[3]
        matrices = [given[name] for name in ("w_gate", "w_up", "w_down")]
        x = torch.randn(3, sizes[2], generator=generator(seed + 1))
        said = _say(x, *answer(**given))
        expected = _say(x, *matrices)
        got = said.unflatten(0, (n_experts, split)).sum(dim=1)
        apart = said.unflatten(0, (split, n_experts)).sum(dim=0)
        shown = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(apart, expected),
            "The parts are right and stand in another order.",
            cause="They come as first the first part of every expert, then the second.",
            cure="Keep the parts of one expert side by side.",
            **shown,
        )
        require(
            close(got, expected),
            "With one expert the parts add up, with several they do not.",
            cause="Pieces of several experts were mixed.",
            cure="New expert e * split + j must be a part of expert e, in all three matrices.",
            **shown,
        )


@EXERCISE.stage("transposed weights")
def _transposed(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *MANY):
        given = _inputs(sizes, seed)
        turned = {
            name: w.mT.contiguous().mT if isinstance(w, Tensor) else w for name, w in given.items()
        }
        x = torch.randn(3, sizes[2], generator=generator(seed + 1))
        expected = _say(x, *answer(**given)).unflatten(0, (-1, given["split"])).sum(dim=1)
        try:
            parts = answer(**turned)
        except RuntimeError as error:
            require(
                "view" not in str(error),
                "Weights that lie transposed in memory make it fail.",
                cause="They cannot be cut by `view`, which never copies.",
                cure="`reshape` and `flatten` copy where they must.",
                example=turned,
            )
            raise
        got = _say(x, *parts).unflatten(0, (-1, given["split"])).sum(dim=1)
        require(
            close(got, expected),
            "The same weights, transposed in memory, are cut into other parts.",
            cause="The cut follows the order of the numbers in memory.",
            cure="Work with axes: `unflatten`, `reshape`, `movedim`.",
            expected=expected,
            got=got,
            example=turned,
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    def spoken(function: Any, values: dict[str, Any]) -> Tensor:
        """Run the parts on tokens: which units go to which part is left open."""
        parts = function(*values.values())
        x = torch.randn(4, parts[0].shape[-1], generator=generator(seed))
        return _say(x, *parts).unflatten(0, (-1, values["split"])).sum(dim=1)

    for sizes in MANY:
        require_gradients(answer, _cut, _inputs(sizes, seed), seed=seed, call=spoken)
