"""Chapter 04, exercise 4.1: a SwiGLU expert that keeps nothing for the way back."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch04_dispatch.kept_memory import still_alive
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="4.1",
    name="swiglu_expert",
    title="An expert that keeps nothing",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    version=2,
    limit=30,  # the first `checkpoint` of a session loads the compiler
    hints=(
        "Forward first, as in the lesson: two products side by side, one of them through silu, "
        "number by number, and the third matrix leads back. Save the four arguments and nothing "
        "else. In backward begin by computing both products once more.",
        "Go backwards through the formula. With h = silu(z) * up and y = h @ w_down.T: dh = dy @ "
        "w_down, and the gradient of w_down is dy.T @ h. dh reaches `up` times silu(z), and z "
        "times up and silu'(z). A product a = x @ w.T gives x the part da @ w, and w da.T @ x.",
        "z, up = x @ w_gate.T, x @ w_up.T; s = z.sigmoid(); dh = dy @ w_down; d_up = dh * z * s; "
        "d_z = dh * up * s * (1 + z * (1 - s)); return d_z @ w_gate + d_up @ w_up, d_z.T @ x, "
        "d_up.T @ x, dy.T @ (z * s * up)",
    ),
    explanation="Four tensors of F numbers a row became none, for two more products in backward: "
    "8 products where there were 6. That trade, computing again instead of keeping, is how large "
    "models are trained at all, and an expert is a good place for it, because nothing else is as "
    "wide. By hand you keep x and the matrices; `torch.utils.checkpoint` does the same for any "
    "function, and runs all of it a second time.",
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
            "or after the product instead of before the product; a branch is missing, added or "
            "reshaped; or x is added.",
            cure="silu(x @ w_gate.T) times x @ w_up.T, number by number; then `w_down.T`.",
            **facts,
        )


def _far(seed: int) -> dict[str, Tensor]:
    given = _inputs(6, 1, 1, seed)
    given["x"] = torch.tensor([-300.0, -100.0, -20.0, 20.0, 100.0, 300.0])[:, None]
    given["w_gate"] = given["w_gate"].sign()  # as far as x itself, so that `exp` overflows
    return given


@EXERCISE.stage("far from zero")
def _expert_far(answer: Any, seed: int) -> None:
    given = _far(seed)
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
    for sizes in ((1, 1, 1), (3, 5, 2), (7, 4, 11)):
        _require_slope(answer, _inputs(*sizes, seed), seed)
        require_gradients(answer, _swiglu, _inputs(*sizes, seed), seed=seed)
    far = _far(seed)
    got, _ = _slopes(answer, far, seed)
    require(
        bool(got.isfinite().all()),
        "Near zero the gradients are right, and where `w_gate` leads far from it they are not even "
        "finite.",
        cause="An `exp` in the derivative overflows.",
        cure="`z.sigmoid()` never does, and silu'(z) needs nothing else.",
        got=got,
        example=far,
    )
    require_gradients(answer, _swiglu, far, seed=seed)


def _slopes(answer: Any, given: dict[str, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """Give the gradient of `x` for a drawn gradient of the result, and that one."""
    with torch.enable_grad():
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        y = answer(**leaves)
        dy = torch.randn(y.shape, generator=generator(seed)).to(y.dtype)
        found = None
        if y.requires_grad:
            (found,) = torch.autograd.grad(y, leaves["x"], dy, allow_unused=True)
    return torch.zeros_like(given["x"]) if found is None else found, dy.float()


def _require_slope(answer: Any, given: dict[str, Tensor], seed: int) -> None:
    """Reject the slips of a backward by hand that can be told by the gradient of `x`."""
    got, dy = _slopes(answer, given, seed)
    z, up = given["x"] @ given["w_gate"].T, given["x"] @ given["w_up"].T
    s, dh = z.sigmoid(), dy @ given["w_down"]
    through_up = (dh * z * s) @ given["w_up"]
    through_gate = (dh * up * s * (1 + z * (1 - s))) @ given["w_gate"]
    of_sigmoid = through_up + (dh * up * s * (1 - s)) @ given["w_gate"]
    no_up = through_up + (dh * s * (1 + z * (1 - s))) @ given["w_gate"]
    slips = (
        (through_up, Why("It comes back through `w_up` alone.", "Add what comes by `w_gate`.")),
        (through_gate, Why("It comes back through `w_gate` alone.", "Add what comes by `w_up`.")),
        (of_sigmoid, Why("s (1 - s) is the sigmoid's slope.", "Take silu's, of the text.")),
        (no_up, Why("On its way to z the gradient passes `up`.", "Multiply by `up`, too.")),
    )
    expected = through_gate + through_up
    why = likely(got, expected, slips)
    if why["cause"]:
        said = "The numbers are right, and the gradient of `x` is not."
        require(False, said, **why, expected=expected, got=got, example=given)


@EXERCISE.stage("what it keeps")
def _expert_keeps(answer: Any, seed: int) -> None:
    if seed:  # other numbers leave nothing else behind, and every look goes through all objects
        return
    n_rows, d_model, d_ff = 97, 2, 64
    given = {
        name: tensor.requires_grad_()
        for name, tensor in _inputs(n_rows, d_model, d_ff, seed).items()
    }
    # One byte for each inner number is more than copies of the arguments, in float64 even, or the
    # random state that a checkpoint keeps.
    alive = still_alive(answer, given, at_least=n_rows * d_ff)
    n_bytes = sum(size for size, _, _ in alive)
    by_autograd = any(is_saved for _, _, is_saved in alive)
    require(
        not alive,
        "The answers and the gradients are right. But when the call is over, "
        f"{n_bytes:,} bytes of what it computed are still in memory.",
        cause="Whatever autograd needs for a derivative stays: each operation saves its own, and "
        "so does `save_for_backward`."
        if by_autograd
        else "An attribute, a list or a closure holds a tensor, and what is held stays.",
        cure="Save the arguments alone: `ctx.save_for_backward(x, w_gate, w_up, w_down)`. The "
        "products are computed again in `backward`.",
        expected=Words("nothing but the result"),
        got=Words("still there: " + ", ".join(words for _, words, _ in alive)),
        example={"x": Words(f"{n_rows} rows of width {d_model}"), "F": d_ff},
    )
