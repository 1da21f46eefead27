"""Exercise 2.5: a mask for the top k."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import strided
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor

EXERCISE = Exercise(
    id="2.5",
    name="top_k_mask",
    title="A mask for the top k",
    points=1,
    difficulty=2,
    importance=4,
    minutes=10,
    hints=(
        "Find the *positions* of the k largest logits first; turning positions into a mask is a "
        "separate step.",
        "A stable descending sort gives positions with ties in the order of the experts. A tensor "
        "of False and `scatter(-1, positions, True)` give the mask. (PyTorch wants `stable=True` "
        "together with `dim=-1`, by name.)",
        "chosen = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]; "
        "torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True)",
    ),
    explanation="Comparing with the k-th largest value looks simpler, and marks too many experts "
    "as soon as two logits are equal. `topk` gives no promise about ties; a stable sort does.",
)


def _mask(logits: Tensor, k: int) -> Tensor:
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order[:, :k], True)


@EXERCISE.stage("shape")
def _mask_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, k in ((1, 1, 1), (1, 5, 2), (4, 3, 3), (7, 11, 3)):
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(logits, k)
        require_tensor(got, {"logits": logits, "k": k})
        require(
            got.shape == logits.shape and got.dtype == torch.bool,
            f"This is no boolean tensor of the logits' own shape, {tuple(logits.shape)}.",
            cause="It holds the positions or the values of the chosen ones, or ones and zeros.",
            cure="Begin with torch.zeros_like(logits, dtype=torch.bool), and set the chosen "
            "positions to True with `scatter`.",
            got=got,
            example={"logits": logits, "k": k},
        )


@EXERCISE.stage("choice")
def _mask_choice(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, k in ((1, 1, 1), (1, 5, 2), (4, 3, 3), (7, 11, 3)):
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(logits, k)
        ranks = logits.argsort(dim=-1, descending=True).argsort(dim=-1)
        tell = {"expected": ranks < k, "got": got, "example": {"logits": logits, "k": k}}
        require(
            k == n_experts or not torch.equal(got, ranks >= n_experts - k),
            "These are the *smallest* logits.",
            cause="Without `descending=True` a sort begins with the smallest.",
            cure="Sort in descending order.",
            **tell,
        )
        require(
            torch.equal(got, ranks < k),
            "These are not the k largest logits of each token.",
            cause="The choice runs along the tokens or over the whole batch, the mask was filled "
            "for all rows at once or is the opposite, or other numbers than the logits were "
            "compared.",
            cure="Sort each row along the last dimension, the experts, and mark its first k.",
            **tell,
        )


@EXERCISE.stage("ties")
def _mask_ties(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, k in ((1, 3, 1), (1, 4, 2), (3, 40, 5), (2, 5, 5)):
        logits = torch.randint(0, 2, (n_tokens, n_experts), generator=generator(seed)).float()
        logits[0] = 1.0  # everybody equal
        got = answer(logits, k)
        expected = _mask(logits, k)
        example = {"logits": logits, "k": k}
        require(
            bool((got.sum(dim=-1) == k).all()),
            f"With equal logits a row does not have exactly k = {k} marks.",
            cause="Comparing with the k-th largest value marks all that are equal to it.",
            cure="Mark positions, and not values: the first k of a sorted row.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            torch.equal(got, expected),
            "Of two equal logits the expert with the lower number must win, always.",
            cause="`topk`, and a sort that is not stable or was turned round, leave that open.",
            cure="logits.sort(dim=-1, descending=True, stable=True) keeps equal ones in place.",
            expected=expected,
            got=got,
            example=example,
        )


_AS_THEY_ARE = "Compare the logits as they are: sort them, unchanged, with stable=True."


def _masked(logits: Tensor, draw: torch.Generator) -> Tensor:
    masked = logits.masked_fill(torch.rand(6, 13, generator=draw) < 0.4, -torch.inf)
    masked[:, 4:8] = logits[:, 4:8] - 200.0  # at least four are left to choose, and far below zero
    return masked


def _unusual(seed: int) -> tuple[tuple[str, str, Tensor], ...]:
    """List logits that shortcuts do not survive: what they are, what likely broke, and they."""
    draw = generator(seed)
    logits = torch.randn(6, 13, generator=draw)
    next_to = torch.nextafter(torch.ones(2, 13), torch.full((2, 13), 2.0))
    return (
        (
            "logits that are hundreds apart",
            "A softmax rounds small ones to zero, and clamping makes them equal.",
            300 * logits,
        ),
        (
            "logits that differ in the last bit only",
            "Lower precision loses the difference, and so does subtracting a little from each "
            "expert to break ties.",
            torch.ones(2, 13).where(torch.arange(13) < 10, next_to),
        ),
        (
            "float64 logits that are equal in float32",
            "`.float()` makes them equal.",
            1.0 + 1e-12 * torch.linspace(0, 1, 13).double().expand(2, 13),
        ),
        (
            "logits of which some are minus infinity, as masks make them",
            "No number stands for `nothing here` as long as a logit may be lower.",
            _masked(logits, draw),
        ),
        ("logits in bfloat16", "Many are equal there.", logits.bfloat16()),
        (
            "large and equal logits",
            "A small number added to them is rounded away.",
            torch.full((6, 13), 1e8),
        ),
        (
            "logits far below any constant",
            "A number such as -1e9 stands for `taken`, and lies above all the rest.",
            1e12 * (logits - 10.0),
        ),
        ("transposed logits", "`view` reads them in another order.", strided(logits)),
    )


@EXERCISE.stage("unusual logits")
def _mask_unusual(answer: Any, seed: int) -> None:
    for what, cause, logits in _unusual(seed):
        for k in (1, 4):
            got, expected = answer(logits, k), _mask(logits, k)
            require(
                torch.equal(got, expected),
                f"Right so far, but not with {what}.",
                cause=cause,
                cure=_AS_THEY_ARE,
                expected=expected,
                got=got,
                example={"logits": logits, "k": k},
            )
