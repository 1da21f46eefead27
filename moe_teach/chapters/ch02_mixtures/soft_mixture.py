"""Exercise 2.2: a mixture whose experts live elsewhere."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import Mistakes, require_edges, require_no_slip
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="2.2",
    name="soft_mixture",
    title="A mixture whose experts live elsewhere",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    version=2,
    hints=(
        "A softmax over all experts gives a machine's experts a share of the weight together. How "
        "large is the share of one machine, written with the totals alone?",
        "The share of machine m is exp(total_m) over the sum of all exp(total): a softmax once "
        "more, over the machines. What a silent machine sent is then weighed with 0, but 0 times "
        "NaN is NaN: take it out before you multiply.",
        "weights = totals.softmax(dim=0); heard = blends.masked_fill(totals.isneginf()[..., None], "
        "0.0); return (weights[..., None] * heard).sum(dim=0)",
    ),
    explanation="A softmax can be taken in parts: inside each part, and then over the logarithms "
    "of the parts' sums. Two numbers of each part carry all that the whole needs. Attention over "
    "a long text is put together from blocks in the same way, and so is a softmax over a "
    "vocabulary that is spread over devices.",
)

# Machines, tokens, outputs. Machine m holds 1 + (2 m mod 5) experts.
SIZES = ((1, 1, 1), (2, 1, 3), (3, 5, 1), (5, 7, 3), (3, 3, 3))


class _Parts(NamedTuple):
    """What stands on the machines, and what one softmax over all of it gives."""

    given: dict[str, Tensor]
    blend: Tensor


def _parts(sizes: tuple[int, int, int], seed: int, silent: float = 0.0) -> _Parts:
    """Draw ragged experts; a share `silent` of the machines has none for a token."""
    n_machines, n_tokens, d_out = sizes
    draw = generator(seed)
    counts = [1 + 2 * m % 5 for m in range(n_machines)]
    outputs = torch.randn(n_tokens, sum(counts), d_out, generator=draw)
    logits = 2 * torch.randn(n_tokens, sum(counts), generator=draw)
    off = torch.rand(n_machines, n_tokens, generator=draw) < silent
    off[-1] = False  # somebody answers
    logits = logits.masked_fill(off.repeat_interleave(torch.tensor(counts), dim=0).T, -torch.inf)
    own = list(zip(outputs.split(counts, dim=1), logits.split(counts, dim=1), strict=True))
    blends = torch.stack([_blend(*part) for part in own])
    totals = torch.stack([part.logsumexp(dim=-1) for _, part in own])
    return _Parts({"blends": blends, "totals": totals}, _blend(outputs, logits))


def _blend(outputs: Tensor, logits: Tensor) -> Tensor:
    return (logits.softmax(dim=-1)[..., None] * outputs).sum(dim=1)


def _merged(blends: Tensor, totals: Tensor) -> Tensor:
    shares = (totals - totals.logsumexp(dim=0)).exp()
    heard = torch.where(totals.isneginf()[..., None], 0.0, blends)
    return torch.einsum("mt,mto->to", shares, heard)


@EXERCISE.stage("shape")
def _soft_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given, blend = _parts(sizes, seed)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == blend.shape,
            f"The blend has one vector per token, shape {tuple(blend.shape)} here, and this has "
            f"shape {tuple(got.shape)}.",
            cause="Another axis than that of the machines was summed, or none; or `squeeze` took "
            "an axis of size 1 that belongs there.",
            cure="blends is (M, T, O): sum over dimension 0, and squeeze nothing.",
            got=got,
            example=given,
        )


def _slips(blends: Tensor, totals: Tensor) -> Mistakes:
    return (
        (
            blends.mean(dim=0),
            "This is the plain mean of what the machines sent.",
            "A machine with one weak expert counts as much as one with five strong ones.",
            "Weigh each machine by what its experts hold of the whole sum of exponentials.",
        ),
        (
            (totals[..., None] * blends).sum(dim=0),
            "The totals themselves were used as weights.",
            "They are logarithms, and need not even be positive.",
            "The share of a machine is its sum of exponentials, exp(total), over everybody's.",
        ),
        (
            (totals.softmax(dim=-1)[..., None] * blends).sum(dim=0),
            "These weights sum to one over the tokens.",
            "`dim=-1` is the axis of the tokens: totals is (M, T).",
            "Normalise over the machines, dim=0.",
        ),
        (
            (totals.exp()[..., None] * blends).sum(dim=0),
            "The weights of a token do not sum to one.",
            "Nothing was divided by the sum over all machines.",
            "Divide by the sum of exp(total) over the machines, or let `softmax` do it.",
        ),
    )


@EXERCISE.stage("values")
def _soft_values(answer: Any, seed: int) -> None:
    tries = []
    for sizes in SIZES:
        given, blend = _parts(sizes, seed)
        tell = {"expected": blend, "got": answer(**given), "example": given}
        tries.append((_slips(**given), tell))
    require_no_slip(tries)
    for _, tell in tries:
        require(
            close(tell["got"], tell["expected"]),
            "One softmax over all experts gives another blend.",
            cause="A machine's weight must be its experts' share of the sum of all exponentials.",
            cure="totals are logarithms of such sums, so the shares are a softmax over machines.",
            **tell,
        )


@EXERCISE.stage("silent machines")
def _soft_silent(answer: Any, seed: int) -> None:
    for junk, what in ((0.0, "zeros"), (torch.nan, "NaN")):
        given, blend = _parts((5, 7, 3), seed, silent=0.4)
        silent = given["totals"].isneginf()[..., None]
        given["blends"] = given["blends"].masked_fill(silent, junk)
        got = answer(**given)
        require(
            close(got, blend),
            f"Where a machine is silent (its total is minus infinity, and it sends {what}), the "
            "blend is another one.",
            cause="What is weighed with 0 is not gone: 0 times NaN is NaN. And minus infinity less "
            "minus infinity is NaN, too.",
            cure="Put zeros in the place of a silent machine's blend before you multiply: "
            "`masked_fill` with `totals.isneginf()`.",
            expected=blend,
            got=got,
            example=given,
        )


@EXERCISE.stage("other inputs")
def _soft_edges(answer: Any, seed: int) -> None:
    require_edges(answer, _merged, _parts((5, 7, 3), seed).given, logits="totals")


@EXERCISE.stage("gradient")
def _soft_gradient(answer: Any, seed: int) -> None:
    require_gradients(answer, _merged, _parts((5, 7, 3), seed).given, seed=seed)
    given, _ = _parts((5, 7, 3), seed, silent=0.4)  # its silent machines send NaN
    require_gradients(answer, _merged, given, seed=seed)
