"""Chapter 11, exercise 11.6: an open task, a domain with three eighths of the experts."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.keeping import (
    Sample,
    keeping,
    loss_on,
    stored_sample,
    stored_texts,
)
from moe_teach.judging.exercise import Exercise, Goal, Words, generator, require, require_tensor
from moe_teach.judging.reasons import Why
from moe_teach.nn.model import Model

N_KEEP, TOP_K = 24, 2

EXERCISE = Exercise(
    id="11.6",
    name="experts_to_keep",
    title="Open task: a domain with fewer experts",
    points=3,
    difficulty=4,
    importance=3,
    minutes=25,
    needs=("11.3",),
    limit=60,
    goal=Goal(
        quantity="rise of the loss with 24 of 64 experts",
        unit="nats",
        baseline=0.473,
        target=0.37,
        more_is_better=False,
        limit="How low it can go, nobody has tried: there are 2.5e17 ways to keep 24 of 64.",
        cause="Load counts visits. Damage counts one expert away while all others are there to "
        "help, and here most of the others go too.",
        cure="Join the two: an expert that is much used and does damage when it is missing.",
    ),
    hints=(
        "The lesson's figure shows that load and damage are not the same. Which of the two is "
        "nearer to what is asked here, and what does it not know?",
        "Knocked out alone, an expert may do no damage because its neighbour helps. Both of them "
        "gone is another matter. So a score made of damage and of gates is safer than either; keep "
        "two in each layer first, or the model cannot run.",
        "score = damage.clamp(min=0) * gates; kept = zeros, True for score[layer].topk(2) in each "
        "layer; then the best of all others until 24 are kept.",
    ),
    explanation="By load the loss rises by 0.47 nats, by damage by 0.375, by damage times gates by "
    "0.36; at random it is 1.8. Arithmetic loses next to nothing with 24 experts, and languages "
    "0.6: a mean over domains would have hidden both. These are experts of a domain in the sense "
    "that the domain can do without the others, more or less. They are not experts *only* for it: "
    "most of them are kept for other domains too.",
)


@lru_cache(maxsize=1)
def shipped() -> Model:
    """Load the model that comes with the package."""
    from moe_teach.train.shipped import load_shipped

    return load_shipped().model


@lru_cache(maxsize=16)
def whole_loss(domain: str, number: int) -> float:
    """Return the loss of all experts on one set of a domain's texts."""
    return loss_on(shipped(), stored_texts()[domain][number])


def rise(kept: Tensor, domain: str, number: int) -> float:
    """Return by how much the loss of a set of texts rises with the kept experts alone."""
    before = whole_loss(domain, number)  # outside the block, where all experts are there
    with keeping(shipped(), kept):
        return loss_on(shipped(), stored_texts()[domain][number]) - before


def most(score: Tensor, n_keep: int = N_KEEP, least: int = TOP_K) -> Tensor:
    """Keep the highest scores, and in each layer at least `least`."""
    kept = torch.zeros_like(score, dtype=torch.bool)
    for layer, own in enumerate(score):
        kept[layer, own.topk(least).indices] = True
    others = score.masked_fill(kept, -torch.inf).flatten()
    kept.view(-1)[others.topk(n_keep - int(kept.sum())).indices] = True
    return kept


def _called(answer: Any, sample: Sample, n_keep: int) -> Tensor:
    tables = tuple(table.clone() for table in sample)
    got = answer(*tables, n_keep)
    example = dict(zip(Sample._fields, tables, strict=True)) | {"n_keep": n_keep}
    require_tensor(got, example)
    require(
        got.dtype == torch.bool and got.shape == sample.counts.shape,
        "A table of True and False is asked for, a row for each layer, a column for each expert.",
        **_other_form(got, sample.counts.shape)._asdict(),
        expected=Words(f"bool, {tuple(sample.counts.shape)}"),
        got=got,
        example=example,
    )
    require(
        int(got.sum()) <= n_keep,
        f"{int(got.sum())} experts are kept in all layers together, and {n_keep} may be.",
        cause="n_keep was taken for each layer, or what was kept first was not counted.",
        cure="Fill up until `kept.sum()` is n_keep.",
        got=got,
        example=example,
    )
    few = got.sum(dim=1)
    require(
        bool((few >= TOP_K).all()),
        f"A layer keeps {int(few.min())}, and every token chooses {TOP_K} there.",
        cause="The best of all layers may all stand in the same ones.",
        cure="Keep the two best of each layer first.",
        got=got,
        example=example,
    )
    return got


def _other_form(got: Tensor, shape: torch.Size) -> Why:
    table = "kept = torch.zeros_like(counts, dtype=torch.bool), and True where one stays."
    if got.shape == shape and bool(((got == 0) | (got == 1)).all()):
        return Why(
            f"The ones and zeros are {got.dtype}.", "`.bool()` makes True and False of them."
        )
    if got.dtype == torch.bool:
        cause = "Layers and experts changed places, or all layers stand in one row."
        return Why(cause, "The table has the shape of `counts`.")
    if not got.is_floating_point():
        return Why("Places or numbers of experts came back.", table)
    return Why("Scores came back.", table)


@EXERCISE.stage("a table that can run")
def _kept_form(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_layers, n_experts, n_keep in ((4, 16, 24), (3, 7, 6), (2, 5, 10)):
        counts = torch.rand(n_layers, n_experts, generator=random) ** 3
        counts[0] *= 1e-3  # a layer that a ranking over all would leave empty
        damage = torch.randn(n_layers, n_experts, generator=random) * counts
        _called(answer, Sample(100 * counts, 60 * counts, damage), n_keep)


@EXERCISE.stage("the same again")
def _kept_repeats(answer: Any, seed: int) -> None:
    sample = next(iter(stored_sample().values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = _called(answer, sample, N_KEEP)
        second = _called(answer, sample, N_KEEP)
    require(
        torch.equal(first, second),
        "Two calls with the same tables keep different experts.",
        cause="Chance is at work, or one call left something to the next.",
        cure="Decide by the tables alone.",
    )


@EXERCISE.goal.measure
def _kept_rise(answer: Any, seed: int) -> float:
    rises = [
        rise(_called(answer, sample, N_KEEP), domain, seed % 3)
        for domain, sample in stored_sample().items()
    ]
    return sum(rises) / len(rises)
