"""Chapter 11, exercise 11.2: labels dealt anew among the tokens that are the same."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor

EXERCISE = Exercise(
    id="11.2",
    name="shuffled_within",
    title="A null that keeps the token",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "Two lists of the same places: one sorted by `given`, the other too, but with equal ones "
        "in random order. Labels go from the second to the first.",
        "A random order of everything, then sorted by `given` with stable=True: groups stand "
        "together again, and inside each the random order is kept.",
        "random = torch.randperm(T, generator=generator); to = given.argsort(stable=True); come = "
        "random[given[random].argsort(stable=True)]; out = torch.empty_like(labels); out[to] = "
        "labels[come].",
    ),
    explanation="A null has to take away what is asked about and nothing else. Dealing the labels "
    "among all tokens also breaks the tie of token and domain, so that every router that looks at "
    "tokens beats it, a table as well. Dealt within the token, each token keeps its experts and "
    "its domains, and only their pairing inside the token is lost. What is left above that null is "
    "what a table could not do.",
)


def _deal(answer: Any, labels: Tensor, given: Tensor, random: torch.Generator) -> Tensor:
    got = answer(labels, given, random)
    example = {"labels": labels, "given": given}
    require_tensor(got, example)
    require(
        got.shape == labels.shape and got.dtype == labels.dtype,
        "The labels come back in their own shape and dtype.",
        expected=labels,
        got=got,
        example=example,
    )
    return got


def _require_dealt(got: Tensor, labels: Tensor, given: Tensor) -> None:
    example = {"labels": labels, "given": given}
    require(
        torch.equal(got.sort().values, labels.sort().values),
        "These are not the same labels: some are missing, and others are there twice.",
        cause="They were drawn with replacement, or a group wrote over another one.",
        cure="A permutation of the places, and each label is taken from one of them.",
        got=got,
        example=example,
    )
    for value in given.unique():
        own = given == value
        require(
            torch.equal(got[own].sort().values, labels[own].sort().values),
            f"The labels of the tokens {value.item()} are no longer theirs.",
            cause="Labels were dealt among all tokens, or whole groups changed places.",
            cure="A label may only go to a token whose `given` is the same.",
            expected=labels[own].sort().values,
            got=got[own].sort().values,
            example=example,
        )


@EXERCISE.stage("the same labels, in the same groups")
def _null_groups(answer: Any, seed: int) -> None:
    for n_tokens, n_ids in ((23, 4), (31, 40), (17, 1), (1, 1)):
        drawn = some_routes(seed, n_tokens, n_ids=n_ids)
        labels, given = drawn.domains, drawn.tokens
        _require_dealt(_deal(answer, labels, given, generator(seed)), labels, given)


@EXERCISE.stage("other places")
def _null_moves(answer: Any, seed: int) -> None:
    given = torch.arange(40) % 2  # neighbours are never in the same group
    labels = torch.arange(40)
    got = _deal(answer, labels, given, generator(seed))
    _require_dealt(got, labels, given)
    require(
        bool((got != labels).sum() > 20),
        "Most labels are where they were.",
        cause="Only neighbours with the same `given` were mixed, or nothing was.",
        cure="A group is all tokens with this `given`, wherever they stand.",
        expected=Words("most of 40 labels elsewhere"),
        got=got,
        example={"labels": labels, "given": given},
    )


@EXERCISE.stage("every deal as likely")
def _null_uniform(answer: Any, seed: int) -> None:
    labels, given = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([5, 5, 5, 2, 2, 2])
    random, n_deals = generator(seed), 720
    seen = Counter(tuple(_deal(answer, labels, given, random).tolist()) for _ in range(n_deals))
    alone = Counter(deal[:3] for deal in seen.elements())
    example = {"labels": labels, "given": given}
    require(
        len(alone) == 6 and max(alone.values()) < 2 * min(alone.values()),
        f"Of {n_deals} deals, three labels came in {len(alone)} of their 6 orders, and not equally "
        "often.",
        cause="Rotated, sorted or reversed groups are no random ones, and a generator that is set "
        "back deals the same every time.",
        cure="Use `torch.randperm` with the generator that you are given, and leave its seed.",
        expected=Words("each order about 120 times"),
        got={str(order): n for order, n in alone.most_common(6)},
        example=example,
    )
    require(
        len(seen) > 30,
        "Both groups are always dealt in the same way.",
        cause="One permutation was drawn and used for every group.",
        cure="Draw for each group, or for all places at once.",
        expected=Words("36 pairs of orders"),
        got=Words(f"{len(seen)} of them"),
        example=example,
    )


@EXERCISE.stage("its own luck")
def _null_generator(answer: Any, seed: int) -> None:
    drawn = some_routes(seed, 101, n_ids=3)
    deals = []
    with torch.random.fork_rng(devices=[]):
        for global_seed in (0, 1):
            torch.manual_seed(global_seed)
            deals.append(_deal(answer, drawn.domains, drawn.tokens, generator(seed)))
    require(
        torch.equal(*deals),
        "The same generator deals twice differently.",
        cause="Something draws from the global generator.",
        cure="Hand `generator=generator` to every draw.",
    )
