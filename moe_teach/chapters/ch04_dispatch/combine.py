"""Chapter 04, exercise 4.3: bring the answers back to their tokens."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch04_dispatch.sort_dispatch import SIZES, by_definition, choices
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients

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
    """Draw answers of every width, and gates that do not sum to one, as transposed views."""
    random = generator(seed + 2)
    ids = choices(*sizes, seed)
    kept = torch.rand(ids.shape, generator=random) < share_kept
    token_idx, slot, _ = by_definition(ids, kept, sizes[1] + 1)
    gates = torch.rand(ids.T.shape, generator=random).T + 0.1
    y = torch.randn(1 + sizes[0] % 4, len(token_idx), generator=random).T
    return {"y": y, "gates": gates, "slot": slot}


def _mixture(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    token, choice = (slot >= 0).nonzero(as_tuple=True)
    rows = gates[token, choice, None] * y[slot[token, choice]]
    return torch.zeros(len(gates), y.shape[1]).index_add(0, token, rows)


@EXERCISE.stage("shape")
def _combine_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=1.0)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == (sizes[0], given["y"].shape[1]),
            "One row for each *token* is asked for, (T, D), and another shape comes.",
            cause="Either the sum over the K choices is missing or runs over D, or there is one "
            "row for each answer.",
            cure="Gather (T, K, D) answers with `y[slot]`, weigh them, sum over dim=1.",
            expected=Words(f"a tensor of shape {(sizes[0], given['y'].shape[1])}"),
            got=got,
            example=given,
        )


def _with(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Give the mixture of other gates: `change` gets the gates and the slots."""
    return lambda y, gates, slot: _mixture(y, change(gates, slot), slot)


MISTAKEN = (
    (
        _with(lambda gates, slot: torch.ones_like(gates)),
        "The answers were added up without their gates.",
        "Nothing is multiplied by `gates`, so the router has no influence on the mixture.",
        "Multiply by gates[..., None] before the sum.",
    ),
    (
        _with(lambda gates, slot: gates / slot.shape[1]),
        "These are the mixtures divided by K.",
        "A mean was taken, and the gates are the weights already.",
        "Sum over the choices, do not take the mean.",
    ),
    (
        _with(lambda gates, slot: gates / gates.sum(dim=1, keepdim=True)),
        "The gates were divided by their sum.",
        "They need not sum to one, as after a softmax over all experts.",
        "Take them as they are.",
    ),
    (
        _with(lambda gates, slot: gates * (slot > 0)),
        "The answer in row 0 is missing.",
        "Slot 0 is a row like any other; only -1 means turned away.",
        "Ask for slot >= 0.",
    ),
)


@EXERCISE.stage("mixture")
def _combine_mixture(answer: Any, seed: int) -> None:
    tried = []
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=1.0)
        tried.append((given, answer(**given)))
    # Small cases let several mistakes look alike: a mistake is named if it explains them all.
    _, symptom, cause, cure = next(
        (told for told in MISTAKEN if all(close(got, told[0](**one)) for one, got in tried)),
        (
            None,
            "Nobody was turned away here, and the mixtures are still wrong.",
            "The rows of y are taken in another order than `slot` says, a gate meets another "
            "answer, only one of the K counts, or the gates were changed first.",
            "Token t needs the rows `y[slot[t, k]]`, each times `gates[t, k]`.",
        ),
    )
    for given, got in tried:
        expected = _mixture(**given)
        facts = {"expected": expected, "got": got, "example": given}
        require(close(got, expected), symptom, cause=cause, cure=cure, **facts)


@EXERCISE.stage("turned away")
def _combine_dropped(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = _case(sizes, seed, share_kept=0.6)
        if not len(given["y"]):
            continue  # the next stage's case
        expected = _mixture(**given)
        got = answer(**given)
        facts = {"expected": expected, "got": got, "example": given}
        left = given["gates"] * (given["slot"] >= 0)
        to_one = left / left.sum(dim=1, keepdim=True).clamp_min(1e-9)
        to_all = to_one * given["gates"].sum(dim=1, keepdim=True)
        # Divided by a sum of zero, a token without any choice left becomes NaN.
        is_raised = any(
            close(got.nan_to_num(), _mixture(given["y"], raised, given["slot"]))
            for raised in (to_one, to_all)
        )
        require(
            close(got, expected) or not is_raised,
            "The gates of the remaining choices were raised to make up for the lost one.",
            cause="They are divided by the sum of those that remain.",
            cure="Leave them as they are; a token that lost all would divide by zero.",
            **facts,
        )
        require(
            close(got, expected),
            "A choice with slot -1 must add nothing, and something else comes out here.",
            cause="In Python, index -1 reads the *last* row, and clamped to 0 the first: somebody "
            "else's answer.",
            cure="Put a row of zeros at the end of y, and -1 reads that.",
            **facts,
        )


@EXERCISE.stage("nobody served")
def _combine_nobody(answer: Any, seed: int) -> None:
    given = _case((5, 4, 2), seed, share_kept=0.0)
    got = None
    with suppress(IndexError, RuntimeError):  # said below, in words
        got = answer(**given)
    require(
        close(got, torch.zeros(5, 2)),
        "When every choice was turned away, y has no rows at all and every token gets zeros.",
        cause="Indexing an empty y fails.",
        cure="A row of zeros at its end helps here too.",
        expected=torch.zeros(5, 2),
        got=got if got is not None else Words("an error from indexing"),
        example=given,
    )


@EXERCISE.stage("gradient")
def _combine_gradient(answer: Any, seed: int) -> None:
    for share_kept in (1.0, 0.6):
        require_gradients(answer, _mixture, _case((5, 4, 2), seed, share_kept), seed=seed)
