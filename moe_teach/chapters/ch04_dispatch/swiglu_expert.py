"""Chapter 04, exercise 4.1: one SwiGLU expert."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="4.1",
    name="swiglu_expert",
    title="One SwiGLU expert",
    points=1,
    difficulty=1,
    importance=4,
    minutes=10,
    hints=(
        "Two matrices lead from width D to width F, side by side. One of the two results goes "
        "through silu; then they are multiplied number by number, and the third matrix leads back.",
        "A matrix with one row per output is used transposed: `x @ w_up.T` is (n, F).",
        "inner = F.silu(x @ w_gate.T) * (x @ w_up.T); return inner @ w_down.T",
    ),
    explanation="silu(z) = z · sigmoid(z) opens and closes each of the F inner features; `w_up` "
    "says what passes. The third matrix makes an expert 1.5 times as large as a plain one of the "
    "same d_ff; in return most papers make d_ff smaller.",
)

SIZES = ((1, 1, 1), (1, 2, 3), (3, 5, 2), (5, 4, 4), (7, 4, 11), (0, 3, 5))  # rows, D, F


def _inputs(n_rows: int, d_model: int, d_ff: int, seed: int) -> dict[str, Tensor]:
    random = generator(seed)
    shapes = {
        "x": (n_rows, d_model),
        "w_gate": (d_ff, d_model),
        "w_up": (d_ff, d_model),
        "w_down": (d_model, d_ff),
    }
    # Transposed views: their numbers do not lie row by row in memory.
    return {name: torch.randn(shape[::-1], generator=random).T for name, shape in shapes.items()}


def _swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    gate = x @ w_gate.T
    return (gate * gate.sigmoid() * (x @ w_up.T)) @ w_down.T


@EXERCISE.stage("shape")
def _expert_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _inputs(*sizes, seed)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == given["x"].shape,
            "An expert gives back what it got: one row of width D for each row of x. Another shape "
            "comes here.",
            cause="`w_down` is missing, a row was squeezed away, or no row (n = 0) has no width.",
            cure="End in `@ w_down.T`, and squeeze nothing: it holds for no rows as well.",
            expected=Words(f"a tensor of shape {tuple(given['x'].shape)}"),
            got=got,
            example=given,
        )


@EXERCISE.stage("values")
def _expert_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _inputs(*sizes, seed)
        expected = _swiglu(**given)
        got = answer(**given)
        facts = {"expected": expected, "got": got, "example": given}
        swapped = _swiglu(given["x"], given["w_up"], given["w_gate"], given["w_down"])
        require(
            close(got, expected) or not close(got, swapped),
            "The silu sits on the wrong branch.",
            cause="It acts on the product with `w_up`, and the one with `w_gate` stays linear.",
            cure="The silu belongs to `w_gate`; `w_up` stays linear.",
            **facts,
        )
        gate, up = given["x"] @ given["w_gate"].T, given["x"] @ given["w_up"].T
        plain = (gate.sigmoid() * up) @ given["w_down"].T
        require(
            close(got, expected) or not close(got, plain),
            "This is the older GLU, with a sigmoid in the place of the silu.",
            cause="silu(z) is z · sigmoid(z): the factor z is missing.",
            cure="Use `F.silu`.",
            **facts,
        )
        require(
            close(got, expected),
            "The shape is right and the numbers are not.",
            cause="Another function than silu acts (a ReLU, a GELU), or it acts on both branches "
            "or "
            "after the product instead of before the product; a branch is missing, added or "
            "reshaped; or x is added.",
            cure="silu(x @ w_gate.T) times x @ w_up.T, number by number; then `w_down.T`.",
            **facts,
        )


@EXERCISE.stage("far from zero")
def _expert_far(answer: Any, seed: int) -> None:
    given = _inputs(6, 1, 1, seed)
    given["x"] = torch.tensor([-300.0, -100.0, -20.0, 20.0, 100.0, 300.0])[:, None]
    given["w_gate"] = given["w_gate"].sign()  # as far as x itself, so that `exp` overflows
    got, expected = answer(**given), _swiglu(**given)
    require(
        close(got, expected),
        "Near zero the numbers are right, and where `w_gate` leads far from it they are not: "
        "silu(z) is nearly z for large z and nearly 0 for very negative ones.",
        cause="An `exp` of one's own overflows, or something is clamped.",
        cure="`F.silu` gets that right.",
        expected=expected,
        got=got,
        example=given,
    )


@EXERCISE.stage("gradient")
def _expert_gradient(answer: Any, seed: int) -> None:
    require_gradients(answer, _swiglu, _inputs(3, 5, 2, seed), seed=seed)
