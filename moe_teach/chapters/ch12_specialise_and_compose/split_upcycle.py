"""Chapter 12, exercise 12.1: a dense layer becomes many small experts, and answers the same."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from moe_teach.judging.exercise import Exercise, generator, require, require_tensors
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="12.1",
    name="split_upcycle",
    title="Small experts without a jump",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "The dense answer is a sum over hidden units, so slices of the units add up to it. What "
        "do gates of 1 / n_slices do to that sum, and where can it be made good?",
        "The hidden units are the rows of `w_up` and `w_gate` and the columns of `w_down`. A "
        "factor n_slices on `w_down` alone passes through no nonlinearity.",
        "up = w_up.unflatten(0, (n_slices, -1)).repeat(n_copies, 1, 1), the same for the gate; "
        "down = n_slices * w_down.unflatten(1, (n_slices, -1)).movedim(1, 0).repeat(n_copies, 1, "
        "1).",
    ),
    explanation="Whole copies need no factor, because gates that sum to 1 weigh equal answers. "
    "Slices are not equal: each gives a part of the sum, and a gate of 1 / n_slices makes it "
    "smaller. The factor belongs on `w_down`, behind the nonlinearity. The answer is exact only "
    "for equal gates and one copy of each slice, so the router must choose within groups and "
    "begin with a row of its own for each copy only, as He et al. 2024 (arXiv 2410.07524) do with "
    "their virtual groups; a free top-k would choose one slice twice and another never.",
)
NAMES = ("up", "gate", "down")
SIZES = ((12, 5, 3, 2), (7, 3, 1, 4), (10, 4, 5, 1), (6, 7, 6, 3))  # F, D, slices, copies


def _case(sizes: tuple[int, int, int, int], seed: int) -> dict[str, Any]:
    width, d_model, n_slices, n_copies = sizes
    source = generator(seed)
    return {
        "w_up": torch.randn(width, d_model, generator=source),
        "w_gate": torch.randn(width, d_model, generator=source),
        "w_down": torch.randn(d_model, width, generator=source),
        "n_slices": n_slices,
        "n_copies": n_copies,
    }


def _dense(given: dict[str, Any], x: Tensor, units: slice = slice(None)) -> Tensor:
    hidden = silu(x @ given["w_gate"][units].T) * (x @ given["w_up"][units].T)
    return hidden @ given["w_down"][:, units].T


def _checked(answer: Any, given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    got = answer(**given)
    require_tensors(got, NAMES, given)
    return got


@EXERCISE.stage("shapes")
def _split_shapes(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        width, d_model, n_slices, n_copies = sizes
        rows = (n_slices * n_copies, width // n_slices, d_model)
        wanted = (rows, rows, (rows[0], d_model, rows[1]))
        for name, tensor, shape in zip(NAMES, _checked(answer, given), wanted, strict=True):
            require(
                tensor.shape == shape,
                f"`{name}` must be {shape} here: an expert for every slice and copy, each as wide "
                "as a slice.",
                cause="There are n_slices * n_copies experts, one after another on the first axis."
                if tensor.dim() == 3 and len(tensor) != rows[0]
                else "The hidden units are the rows of w_up and w_gate, and the columns of "
                "w_down; or every expert is still as wide as the dense layer.",
                cure="`unflatten` the axis of hidden units into (n_slices, -1).",
                got=tensor,
                example=given,
            )


@EXERCISE.stage("the same answer")
def _split_answers(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed)
        up, gate, down = _checked(answer, given)
        n_slices, n_copies = given["n_slices"], given["n_copies"]
        x = torch.randn(11, sizes[1], generator=generator(seed + 1))
        each = torch.einsum("etf,edf->etd", silu(x @ gate.mT) * (x @ up.mT), down) / n_slices
        expected = _dense(given, x)
        all_copies = torch.allclose(each.sum(dim=0) / n_copies, expected, atol=1e-4, rtol=1e-4)
        for copy in range(n_copies):
            got = each[copy * n_slices : (copy + 1) * n_slices].sum(dim=0)
            _demand_dense(got, expected, given, _why_other((up, gate, down), given, all_copies))
            _demand_slices(each[copy * n_slices : (copy + 1) * n_slices], x, given)


def _demand_dense(got: Tensor, expected: Tensor, given: dict[str, Any], other: Why) -> None:
    factor = float((got * expected).sum() / expected.square().sum())
    smaller = torch.allclose(got, factor * expected, atol=1e-4, rtol=1e-3)
    require(
        torch.allclose(got, expected, atol=1e-4, rtol=1e-4),
        f"One copy of each slice, with gates of 1 / {given['n_slices']}, answers {factor:.3g} "
        "times what the dense layer did."
        if smaller
        else "One copy of each slice, with equal gates, does not answer what the dense layer did.",
        **(FACTOR if smaller else other)._asdict(),
        expected=expected,
        got=got,
        example=given,
    )


def _demand_slices(parts: Tensor, x: Tensor, given: dict[str, Any]) -> None:
    width = len(given["w_up"]) // given["n_slices"]
    for s, got in enumerate(parts):
        expected = _dense(given, x, slice(s * width, (s + 1) * width))
        require(
            torch.allclose(got, expected, atol=1e-4, rtol=1e-4),
            f"The slices of a copy sum to the right answer, but its expert {s} is not slice {s}.",
            cause="The slices stand in another order."
            if any(_is_like(part, expected) for part in parts)
            else "Neighbouring units belong together, from s * F / n_slices on: `w[s::n_slices]` "
            "takes every n_slices-th.",
            cure="`unflatten(0, (n_slices, -1))` or `chunk(n_slices)`.",
            expected=expected,
            got=got,
            example=given,
        )


FACTOR = Why(
    "The gates shrink each part, and that is made good once: not never, and not for every copy.",
    "`w_down` times n_slices.",
)


def _is_like(got: Tensor, expected: Tensor) -> bool:
    return torch.allclose(got, expected, atol=1e-4, rtol=1e-4)


def _factor(got: Tensor, expected: Tensor) -> float | None:
    """Say how many times `expected` this is, if it is that at all."""
    factor = float((got * expected).sum() / expected.square().sum())
    return round(factor, 3) if _is_like(got, factor * expected) else None


def _why_other(got: tuple[Tensor, ...], given: dict[str, Any], is_whole: bool) -> Why:
    """Compare the three tensors with the slices, up to a factor, and say which one is astray."""
    if is_whole:
        return Why(
            "All experts together are right, so they stand in another order than copy by copy.",
            "Expert copy * n_slices + s is slice s: `repeat`, not `repeat_interleave`.",
        )
    n_slices, n_copies = given["n_slices"], given["n_copies"]
    up, gate = (
        given[name].unflatten(0, (n_slices, -1)).repeat(n_copies, 1, 1)
        for name in ("w_up", "w_gate")
    )
    down = given["w_down"].unflatten(1, (n_slices, -1)).movedim(1, 0).repeat(n_copies, 1, 1)
    if _factor(got[0], gate) and _factor(got[1], up):
        return Why("`up` and `gate` are exchanged; silu is on the gate.", "`return up, gate, down`")
    factors = {n: _factor(*pair) for n, *pair in zip(NAMES, got, (up, gate, down), strict=True)}
    astray = ", ".join(f"`{name}`" for name, factor in factors.items() if factor is None)
    if astray:
        return Why(
            f"Expert s does not hold the hidden units of slice s in {astray}.",
            "Units are the rows of w_up and w_gate and the *columns* of w_down, from s * F / "
            "n_slices on in all three.",
        )
    return Why(
        f"The factors are {factors}: one on the gate goes through the nonlinearity, and those on "
        "`up` and `down` multiply.",
        "The factor n_slices on `w_down` alone, behind silu.",
    )


@EXERCISE.stage("each its own")
def _split_apart(answer: Any, seed: int) -> None:
    for n_copies in (2, 1):
        _demand_own(answer, _case((6, 5, 3, n_copies), seed))


def _demand_own(answer: Any, given: dict[str, Any]) -> None:
    for name, tensor in zip(NAMES, _checked(answer, given), strict=True):
        others, source = tensor[1:].clone(), given[f"w_{name}"].clone()
        tensor.detach()[0] += 1.0  # works on parameters, too
        require(
            torch.equal(tensor[1:], others) and torch.equal(given[f"w_{name}"], source),
            f"Expert 0 of `{name}` learned something, and another expert or the dense layer "
            "changed with it.",
            cause="`expand` and slicing give views: several names for one memory.",
            cure="`repeat` or `clone` gives every expert its own numbers.",
            example=given,
        )
