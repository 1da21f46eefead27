"""Chapter 04, exercise 4.3: bring the answers back to their tokens."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch04_dispatch.sort_dispatch import SIZES, by_definition, choices
from moe_teach.judging.compare import close, require_tensor
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
    id="4.3",
    name="combine",
    title="Bring the answers back",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    needs=("4.2",),
    hints=(
        "Let each token collect its own K rows: indexing with a (T, K) tensor does it in one go. "
        "Then the only question is what index -1 reads.",
        "In Python, index -1 is the last row, the answer to somebody else. Put a row of zeros at "
        "the end of y first, and -1 reads that.",
        "answers = F.pad(y, (0, 0, 0, 1))[slot]; return (gates[..., None] * answers).sum(dim=1)",
    ),
    explanation="Collecting needs no atomic additions and gives the same sum on every run; the "
    "other way, letting rows add themselves to tokens, does not promise that on a GPU. The gates "
    "of the remaining choices are not raised: a token that lost an expert gets a smaller update.",
)


def _case(sizes: tuple[int, int, int], seed: int, share_kept: float) -> dict[str, Tensor]:
    random = generator(seed + 2)
    ids = choices(*sizes, seed)
    kept = torch.rand(ids.shape, generator=random) < share_kept
    token_idx, slot, _ = by_definition(ids, kept, sizes[1] + 1)
    gates = torch.rand(ids.shape, generator=random) + 0.1
    y = torch.randn(len(token_idx), 3, generator=random)
    return {"y": y, "gates": gates / gates.sum(dim=1, keepdim=True), "slot": slot}


def _mixture(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    out = torch.zeros(len(gates), y.shape[1])
    for t, k in (slot >= 0).nonzero().tolist():
        out[t] += gates[t, k] * y[slot[t, k]]
    return out


@EXERCISE.stage("shape")
def _combine_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=1.0)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == (sizes[0], 3),
            "Return one row for each *token*: (T, D). Is the sum over the K choices missing, or "
            "is there one row for each expert's answer?",
            expected=Words(f"a tensor of shape {(sizes[0], 3)}"),
            got=got,
            example=given,
        )


@EXERCISE.stage("mixture")
def _combine_mixture(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=1.0)
        expected = _mixture(**given)
        got = answer(**given)
        ones = _mixture(given["y"], torch.ones_like(given["gates"]), given["slot"])
        require(
            close(got, expected) or not close(got, ones),
            "The answers were added up without their gates. Then the router has no influence on "
            "the mixture, and no gradient.",
            expected=expected,
            got=got,
            example=given,
        )
        require(
            sizes[2] == 1 or not close(got, expected / sizes[2]),
            "These are the mixtures divided by K. The gates are the weights already: sum over the "
            "choices, do not take the mean.",
            expected=expected,
            got=got,
            example=given,
        )
        beyond_zero = given["gates"] * (given["slot"] > 0)
        require(
            close(got, expected)
            or not close(got, _mixture(given["y"], beyond_zero, given["slot"])),
            "The answer in row 0 is missing. Slot 0 is a row like any other; only -1 means turned "
            "away, so ask for slot >= 0.",
            expected=expected,
            got=got,
            example=given,
        )
        require(
            close(got, expected),
            "Nobody was turned away here, and the mixtures are still wrong. Token t needs the rows "
            "`y[slot[t, k]]`, each times `gates[t, k]`.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("turned away")
def _combine_dropped(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=0.6)
        if not len(given["y"]):
            continue  # the next stage's case
        expected = _mixture(**given)
        got = answer(**given)
        facts = {"expected": expected, "got": got, "example": given}
        raised = given["gates"] * (given["slot"] >= 0)
        raised = raised / raised.sum(dim=1, keepdim=True).clamp_min(1e-9)
        # Divided by a sum of zero, a token without any choice left becomes NaN.
        is_raised = close(got.nan_to_num(), _mixture(given["y"], raised, given["slot"]))
        require(
            close(got, expected) or not is_raised,
            "The gates of the remaining choices were raised to make up for the lost one. Leave "
            "them as they are; a token that lost all would divide by zero.",
            **facts,
        )
        require(
            close(got, expected),
            "A choice with slot -1 must add nothing. In Python, index -1 reads the *last* row, and "
            "clamped to 0 the first: somebody else's answer.",
            **facts,
        )


@EXERCISE.stage("nobody served")
def _combine_nobody(answer: Any, seed: int) -> None:
    given = _case((5, 4, 2), seed, share_kept=0.0)
    got = None
    with suppress(IndexError, RuntimeError):  # said below, in words
        got = answer(**given)
    require(
        close(got, torch.zeros(5, 3)),
        "When every choice was turned away, y has no rows at all and every token gets zeros. "
        "Indexing an empty y fails; a row of zeros at its end helps here too.",
        expected=torch.zeros(5, 3),
        got=got if got is not None else Words("an error from indexing"),
        example=given,
    )


@EXERCISE.stage("gradient")
def _combine_gradient(answer: Any, seed: int) -> None:
    given = _case((5, 4, 2), seed, share_kept=1.0)
    y, gates = given["y"].requires_grad_(), given["gates"].requires_grad_()
    got = answer(y, gates, given["slot"])
    grads = (None,)
    if got.requires_grad:
        grads = torch.autograd.grad(got.sum(), (y, gates), allow_unused=True)
    require(
        all(grad is not None for grad in grads),
        "No gradient reaches the answers or the gates, so experts or router could not learn. Build "
        "the result from tensor operations, without detach(), item() or tolist().",
        example={"y": y.detach(), "gates": gates.detach(), "slot": given["slot"]},
    )
