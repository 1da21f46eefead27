"""Chapter 04, exercise 4.1: one SwiGLU expert."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close, require_tensor
from moe_teach.judging.exercise import Exercise, Words, generator, require

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

SIZES = ((1, 1, 1), (1, 2, 3), (3, 5, 2), (7, 4, 11), (0, 3, 5))  # rows, D, F


def _inputs(n_rows: int, d_model: int, d_ff: int, seed: int) -> dict[str, Tensor]:
    random = generator(seed)
    shapes = {
        "x": (n_rows, d_model),
        "w_gate": (d_ff, d_model),
        "w_up": (d_ff, d_model),
        "w_down": (d_model, d_ff),
    }
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def _inner(given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return given["x"] @ given["w_gate"].T, given["x"] @ given["w_up"].T


@EXERCISE.stage("shape")
def _expert_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _inputs(*sizes, seed)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == given["x"].shape,
            "An expert gives back what it got: one row of width D for each row of x. Did you "
            "forget `w_down`?",
            expected=Words(f"a tensor of shape {tuple(given['x'].shape)}"),
            got=got,
            example=given,
        )


@EXERCISE.stage("values")
def _expert_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _inputs(*sizes, seed)
        gate, up = _inner(given)
        silu = gate * gate.sigmoid()
        expected = (silu * up) @ given["w_down"].T
        got = answer(**given)
        facts = {"expected": expected, "got": got, "example": given}
        swapped = (up * up.sigmoid() * gate) @ given["w_down"].T
        require(
            close(got, expected) or not close(got, swapped),
            "The silu sits on the wrong branch: it belongs to `w_gate`; `w_up` stays linear.",
            **facts,
        )
        plain = (gate.sigmoid() * up) @ given["w_down"].T
        require(
            close(got, expected) or not close(got, plain),
            "This is the older GLU, with a sigmoid in the place of the silu: silu(z) is "
            "z · sigmoid(z).",
            **facts,
        )
        require(
            close(got, expected),
            "The shape is right and the numbers are not. Are the two branches multiplied number "
            "by number, and does a silu (no ReLU or GELU) act on one of them only, before the "
            "product?",
            **facts,
        )


@EXERCISE.stage("gradient")
def _expert_gradient(answer: Any, seed: int) -> None:
    given = {name: t.requires_grad_() for name, t in _inputs(3, 5, 2, seed).items()}
    got = answer(**given)
    grads = (None,)
    if got.requires_grad:
        grads = torch.autograd.grad(got.sum(), tuple(given.values()), allow_unused=True)
    require(
        all(grad is not None for grad in grads),
        "Some matrix gets no gradient, so this expert could not learn. Is there a detach(), "
        "a no_grad() or a `.data` in between?",
        example={name: t.detach() for name, t in given.items()},
    )
