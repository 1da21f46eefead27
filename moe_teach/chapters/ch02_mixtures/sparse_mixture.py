"""Exercise 2.6: the sparse mixture."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import Mistakes, edges, require_no_slip
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
    needs=("2.5",),
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
            f"The result has one vector per token, {tuple(x.shape)} here, like x, and this has "
            f"shape {tuple(got.shape)}.",
            cause="The answers were stacked and not added, or a row is missing or squeezed away.",
            cure="Begin with torch.zeros_like(x), and add each expert's rows with `index_add`.",
            got=got,
            example={"x": x, "logits": logits, "k": sizes[2]},
        )


def _dense_slips(x: Tensor, experts: list[_Counted], logits: Tensor, expected: Tensor) -> Mistakes:
    outputs = torch.stack([torch.tanh(x @ expert.matrix) for expert in experts], dim=1)
    best = outputs[torch.arange(len(x)), logits.argmax(dim=-1)]
    return (
        (
            x + expected,
            "This is x plus the mixture.",
            "The sum begins with x, or x was added: there is no residual in this exercise.",
            "Begin with torch.zeros_like(x).",
        ),
        (
            outputs.sum(dim=1),
            "This is the plain sum of the experts' answers.",
            "No gate meets an answer, or every gate is 1.",
            "Multiply each answer by the gate of its own token and choice.",
        ),
        (
            outputs.mean(dim=1),
            "This is the plain mean of the experts' answers.",
            "Every choice has the same gate, 1 / k.",
            "The gates are the softmax of the chosen logits.",
        ),
        (
            best,
            "This is the answer of the best expert alone.",
            "One choice is used where k of them were asked for.",
            "`logits.topk(k, dim=-1)` gives k columns: use all of them.",
        ),
    )


@EXERCISE.stage("k = E")
def _sparse_dense(answer: Any, seed: int) -> None:
    tries = []
    for n_tokens, n_experts in ((1, 1), (1, 3), (5, 4)):
        x, experts, logits = _setting((n_tokens, n_experts, n_experts), seed)
        got = answer(x, experts, logits, n_experts)
        expected = _reference(x, experts, logits, n_experts)
        tell = {"expected": expected, "got": got}
        tell["example"] = {"x": x, "logits": logits, "k": n_experts}
        tries.append((_dense_slips(x, experts, logits, expected), tell))
    require_no_slip(tries)
    for _, tell in tries:
        require(
            close(tell["got"], tell["expected"]),
            "With k = E every expert works on every token, so this must be the soft mixture.",
            cause="Only the last of a token's answers is kept (`=` for `+=`), a gate meets another "
            "expert's answer, or the softmax is not taken over each token's own k logits.",
            cure="Take gate and rows by the same pair: token, choice = torch.where(ids == number); "
            "add gates[token, choice, None] * expert(x[token]) with `index_add`.",
            **tell,
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
            "so they sum to one; with a softmax over all experts a part of the weight is lost, "
            "and a zero in the place of a logit still gets some.",
            cure="chosen = logits.topk(k, dim=-1); gates = chosen.values.softmax(dim=-1).",
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
            cause="`x[t]` is one vector, (D,).",
            cure="`x[t : t + 1]` is one row, (1, D), and so is `x[tokens]` for a tensor of one.",
            got=Words(f"an expert called with shape {odd[:1]}"),
            example=example,
        )
        rows = [sum(n for n, _ in expert.shapes) for expert in experts]
        require(
            rows == expected,
            "The numbers are right, but experts were called with tokens that did not choose them. "
            "Nothing was saved.",
            cause="Every expert got all tokens, and a gate of zero threw most answers away.",
            cure="Hand each expert only its own tokens: `x[token]`.",
            expected=Words(f"rows per expert: {expected}"),
            got=Words(f"rows per expert: {rows}"),
            example=example,
        )
        idle = [i for i, expert in enumerate(experts) if not expected[i] and expert.shapes]
        require(
            not idle,
            "An expert that nobody chose was called with an empty batch.",
            cause="The loop over the experts calls each of them, whatever it has to do.",
            cure="Skip it: `if len(token):` before the call.",
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
    for what, cause, cure, given in edges(_given((7, 5, 2), seed)):
        got, expected = _call(answer, given), _call(_reference, given)
        require(
            got.dtype == expected.dtype and close(got, expected),
            f"Right so far, but not with {what}.",
            cause=cause,
            cure=cure,
            expected=expected,
            got=got,
            example={"x": given["x"], "logits": given["logits"], "k": given["k"]},
        )


@EXERCISE.stage("gradient")
def _sparse_gradient(answer: Any, seed: int) -> None:
    given = _given((7, 5, 2), seed)
    require_gradients(answer, _reference, given, seed=seed, call=_call)
