"""Exercise 2.6: the sparse mixture."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import edges
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.6",
    name="sparse_mixture",
    title="The sparse mixture",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    needs=("2.2", "2.5"),
    hints=(
        "Loop over the experts, not over the tokens. For each expert find the tokens that chose it "
        "and at which place of their list.",
        "`chosen = logits.topk(k, dim=-1)` gives values and indices. `torch.where(chosen.indices "
        "== number)` gives the tokens and the places. Skip an expert without tokens.",
        "y = y.index_add(0, token, gates[token, choice, None] * expert(x[token])) for each expert, "
        "with gates = chosen.values.softmax(dim=-1).",
    ),
    explanation="The softmax over the chosen logits makes the gates of the chosen sum to one. "
    "`index_add` is needed because plain assignment would keep only the last of a token's k "
    "answers. This loop is the first of the five dispatchers of chapter 04.",
)


class _Counted:
    """An expert, row by row its own map, that keeps the shapes it is given."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.shapes.append(tuple(rows.shape))
        return torch.tanh(rows @ self.matrix)


SIZES = ((1, 1, 1), (1, 3, 2), (4, 2, 2), (7, 5, 2), (6, 9, 1), (5, 12, 4))  # tokens, experts, k


def _setting(sizes: tuple[int, int, int], seed: int) -> tuple[Tensor, list[_Counted], Tensor]:
    n_tokens, n_experts, _ = sizes
    draw = generator(seed)
    width = 2 + n_experts % 4
    experts = [_Counted(torch.randn(width, width, generator=draw)) for _ in range(n_experts)]
    x = torch.randn(n_tokens, width, generator=draw)
    return x, experts, torch.randn(n_tokens, n_experts, generator=draw)


def _reference(x: Tensor, experts: list[_Counted], logits: Tensor, k: int) -> Tensor:
    outputs = torch.stack([torch.tanh(x @ expert.matrix) for expert in experts], dim=1)
    ranks = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(dim=-1)
    return (gates[..., None] * outputs).sum(dim=1)


@EXERCISE.stage("shape")
def _sparse_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        x, experts, logits = _setting(sizes, seed)
        got = answer(x, experts, logits, sizes[2])
        require_tensor(got, {"x": x, "logits": logits, "k": sizes[2]})
        require(
            got.shape == x.shape,
            f"The result has one vector per token, {tuple(x.shape)} here, like x.",
            got=got,
            example={"x": x, "logits": logits, "k": sizes[2]},
        )


@EXERCISE.stage("k = E")
def _sparse_dense(answer: Any, seed: int) -> None:
    for n_tokens, n_experts in ((1, 1), (1, 3), (5, 4)):
        x, experts, logits = _setting((n_tokens, n_experts, n_experts), seed)
        got = answer(x, experts, logits, n_experts)
        expected = _reference(x, experts, logits, n_experts)
        require(
            close(got, expected),
            "With k = E every expert works on every token, so this must be the soft mixture.",
            cause="Is only the last of a token's answers kept (`=` for `+=`), does a gate meet "
            "another expert's answer, or is the softmax not taken over each token's own k logits?",
            expected=expected,
            got=got,
            example={"x": x, "logits": logits, "k": n_experts},
        )


@EXERCISE.stage("values")
def _sparse_values(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        x, experts, logits = _setting(sizes, seed)
        got = answer(x, experts, logits, sizes[2])
        expected = _reference(x, experts, logits, sizes[2])
        require(
            close(got, expected),
            "The mixture of the top k is off.",
            cause="The gates are the softmax over the *chosen* logits, "
            "so they sum to one; with a softmax over all experts a part of the weight is lost.",
            expected=expected,
            got=got,
            example={"x": x, "logits": logits, "k": sizes[2]},
        )


@EXERCISE.stage("work")
def _sparse_work(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        x, experts, logits = _setting(sizes, seed)
        answer(x, experts, logits, sizes[2])
        ranks = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
        expected = (ranks < sizes[2]).sum(dim=0).tolist()
        example = {"x": x, "logits": logits, "k": sizes[2]}
        shapes = [shape for expert in experts for shape in expert.shapes]
        odd = [shape for shape in shapes if len(shape) != 2]
        require(
            not odd,
            "The numbers are right, but an expert takes rows, (n, D), and was called with another "
            "shape.",
            cause="`x[t]` is one vector (D,); `x[t : t + 1]` is one row, (1, D).",
            got=Words(f"an expert called with shape {odd[:1]}"),
            example=example,
        )
        rows = [sum(n for n, _ in expert.shapes) for expert in experts]
        require(
            rows == expected,
            "The numbers are right, but experts were called with tokens that did not choose them. "
            "Nothing was saved.",
            cause="Hand each expert only its own tokens.",
            expected=Words(f"rows per expert: {expected}"),
            got=Words(f"rows per expert: {rows}"),
            example=example,
        )
        idle = [i for i, expert in enumerate(experts) if not expected[i] and expert.shapes]
        require(
            not idle,
            "An expert that nobody chose was called with an empty batch.",
            cause="Skip it.",
            got=Words(f"called for nothing: experts {idle}"),
            example=example,
        )


def _given(sizes: tuple[int, int, int], seed: int) -> dict[str, Any]:
    x, experts, logits = _setting(sizes, seed)
    matrices = [expert.matrix for expert in experts]
    return {"x": x, "experts": matrices, "logits": logits, "k": sizes[2]}


def _call(function: Any, given: dict[str, Any]) -> Tensor:
    x, matrices, logits, k = given.values()
    return function(x, [_Counted(matrix.to(x.dtype)) for matrix in matrices], logits, k)


@EXERCISE.stage("other inputs")
def _sparse_edges(answer: Any, seed: int) -> None:
    for what, cause, given in edges(_given((7, 5, 2), seed)):
        got, expected = _call(answer, given), _call(_reference, given)
        require(
            got.dtype == expected.dtype and close(got, expected),
            f"Right so far, but not with {what}.",
            cause=cause,
            expected=expected,
            got=got,
            example={"x": given["x"], "logits": given["logits"], "k": given["k"]},
        )


@EXERCISE.stage("gradient")
def _sparse_gradient(answer: Any, seed: int) -> None:
    given = _given((7, 5, 2), seed)
    require_gradients(answer, _reference, given, seed=seed, call=_call)
