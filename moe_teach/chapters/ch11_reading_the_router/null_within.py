"""Chapter 11, exercise 11.2: labels dealt anew among the tokens that are the same."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.chapters.ch11_reading_the_router.leaning import LIMIT, N_GROUPS, SIZE, leaning
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.reasons import Why

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


N_TRIPLES, N_PAIRS = 360, 120
UNEVEN = 45  # chance makes a chi-square of six orders as large once in 70 million deals


def _deal(answer: Any, labels: Tensor, given: Tensor, random: torch.Generator) -> Tensor:
    got = answer(labels, given, random)
    example = {"labels": labels, "given": given}
    require_tensor(got, example)
    require(
        got.shape == labels.shape,
        f"{len(labels)} labels go in, and a tensor of shape {tuple(got.shape)} comes back.",
        cause="A group is missing, or groups stand in rows of their own.",
        cure="out = torch.empty_like(labels), and every place is written once.",
        got=got,
        example=example,
    )
    require(
        got.dtype == labels.dtype,
        f"The labels are {labels.dtype}, and came back as {got.dtype}.",
        cause="`torch.zeros` and `torch.empty` make floats, and places are int64.",
        cure="torch.empty_like(labels) has their dtype, and so has labels[places].",
        got=got,
        example=example,
    )
    return got


def _sorted(labels: Tensor) -> Tensor:
    return labels.sort().values


def _require_dealt(got: Tensor, labels: Tensor, given: Tensor) -> None:
    example = {"labels": labels, "given": given}
    require(
        torch.equal(_sorted(got), _sorted(labels)),
        "These are not the same labels: some are missing, and others are there twice.",
        **_other_labels(got, labels, given)._asdict(),
        got=got,
        example=example,
    )
    for value in given.unique():
        own = given == value
        require(
            torch.equal(_sorted(got[own]), _sorted(labels[own])),
            f"The tokens whose `given` is {value.item()} do not have their labels any more.",
            **_other_groups(got, labels, given)._asdict(),
            expected=_sorted(labels[own]),
            got=_sorted(got[own]),
            example=example,
        )


def _other_labels(got: Tensor, labels: Tensor, given: Tensor) -> Why:
    if torch.equal(_sorted(got).long(), _sorted(given)):
        return Why("`given` was dealt, and not the labels.", "The first argument is dealt.")
    if torch.equal(_sorted(got).long(), torch.arange(len(labels))):
        return Why("These are places, and not the labels that stood there.", "labels[places]")
    return Why(
        "They were drawn with replacement, or a group wrote over another one.",
        "A permutation of the places, and each label is taken from one of them.",
    )


def _other_groups(got: Tensor, labels: Tensor, given: Tensor) -> Why:
    there = torch.empty_like(got)
    there[given.argsort(stable=True)] = got  # as if groups had been joined one after another
    if all(torch.equal(_sorted(there[given == g]), _sorted(labels[given == g])) for g in given):
        return Why(
            "Groups were joined one after another, in the order of `given`. Their tokens stand "
            "anywhere.",
            "Write each group's labels back to the places of its tokens: out[places] = ...",
        )
    if int(given.max()) > 2**24:
        return Why(
            "`given` holds numbers above 2**24 here, which float32 does not tell apart.",
            "Leave `given` an integer, and add no random number to it.",
        )
    return Why(
        "Labels were dealt among all tokens, or whole groups changed places.",
        "A label may only go to a token whose `given` is the same.",
    )


@EXERCISE.stage("the same labels, in the same groups")
def _null_groups(answer: Any, seed: int) -> None:
    for n_tokens, n_ids in ((23, 4), (31, 40), (17, 1), (1, 1)):
        drawn = some_routes(seed, n_tokens, n_ids=n_ids)
        labels, given = drawn.domains, drawn.tokens
        _require_dealt(_deal(answer, labels, given, generator(seed)), labels, given)
    labels, given = torch.arange(13, dtype=torch.int32) // 3, 2**25 + torch.arange(13) % 4
    _require_dealt(_deal(answer, labels, given, generator(seed)), labels, given)


@EXERCISE.stage("other places")
def _null_moves(answer: Any, seed: int) -> None:
    given = torch.tensor([3, 50]).repeat(20)  # neighbours are never in the same group
    labels = torch.arange(40)
    got = _deal(answer, labels, given, generator(seed))
    _require_dealt(got, labels, given)
    why = Why(
        "Only some of a group were mixed: neighbours, or one pair.",
        "A group is all tokens with this `given`, wherever they stand.",
    )
    if torch.equal(got, labels):
        why = Why(
            "Nothing was dealt. `given` is 3 or 50 here, which a loop over range(...) may miss; "
            "neighbours never have the same.",
            "for value in given.unique()",
        )
    require(
        bool((got != labels).sum() > 20),
        "Most labels are where they were.",
        **why._asdict(),
        expected=Words("most of 40 labels elsewhere"),
        got=got,
        example={"labels": labels, "given": given},
    )


@EXERCISE.stage("every deal as likely")
def _null_uniform(answer: Any, seed: int) -> None:
    # Many small groups in one deal say as much as many deals, and cost one call.
    given = torch.arange(3 * N_TRIPLES + 2 * N_PAIRS) // 3
    given[3 * N_TRIPLES :] = N_TRIPLES + torch.arange(2 * N_PAIRS) // 2
    given = 2 * given[torch.randperm(len(given), generator=generator(seed))] + 1
    by_group = given.argsort(stable=True)
    labels = torch.empty_like(given)
    in_order = [torch.arange(3).repeat(N_TRIPLES), torch.arange(2).repeat(N_PAIRS)]
    labels[by_group] = torch.cat(in_order)
    random = generator(seed)

    def deal() -> Tensor:
        return _deal(answer, labels, given, random)[by_group]

    first = deal()
    _require_even_triples(first[: 3 * N_TRIPLES], lambda: deal()[: 3 * N_TRIPLES])
    n_turned = int(first[3 * N_TRIPLES :].view(-1, 2)[:, 0].sum())
    require(
        N_PAIRS // 4 < n_turned < N_PAIRS - N_PAIRS // 4,
        f"Of {N_PAIRS} groups of two labels, {n_turned} were turned round.",
        cause="Small groups have luck of their own, or none.",
        cure="Treat every group alike, however small it is.",
        expected=Words("about half of them"),
    )


def _require_even_triples(dealt: Tensor, again: Callable[[], Tensor]) -> None:
    seen = Counter(tuple(order) for order in dealt.view(-1, 3).tolist())
    chance = N_TRIPLES / 6
    uneven = sum((n - chance) ** 2 / chance for n in seen.values()) + chance * (6 - len(seen))
    why = Why(
        "Groups that are rotated, sorted or reversed are not dealt, nor are those in which one "
        "pair changes places or everybody has to move.",
        "A random permutation of each group: `torch.randperm`, or sorting by random numbers.",
    )
    if len(seen) == 1 and not all(torch.equal(dealt, again()) for _ in range(4)):
        why = Why(
            "One permutation was drawn and used for every group.",
            "Draw for each group, or for all places at once.",
        )
    require(
        uneven < UNEVEN,
        f"Of {N_TRIPLES} groups of three labels in one deal, {len(seen)} of 6 orders come out, and "
        "not equally often.",
        **why._asdict(),
        expected=Words(f"each order about {chance:.0f} times"),
        got={str(order): n for order, n in seen.most_common(6)},
    )


@EXERCISE.stage("long groups")
def _null_long(answer: Any, seed: int) -> None:
    given = torch.arange(N_GROUPS * SIZE) % N_GROUPS
    labels = torch.arange(N_GROUPS * SIZE) // N_GROUPS  # the place of each token in its group
    got = _deal(answer, labels, given, generator(seed))
    require(
        leaning(got.view(SIZE, N_GROUPS).T) < LIMIT,
        f"In groups of {SIZE} labels some places get the labels of some others too often.",
        cause="Every place was swapped with any place. That has n ** n paths to n! orders, which "
        "cannot all be equally likely.",
        cure="Swap place i with one from i on, or take `torch.randperm`, or sort random numbers.",
    )


@EXERCISE.stage("its own luck")
def _null_generator(answer: Any, seed: int) -> None:
    drawn = some_routes(seed, 101, n_ids=3)
    random, deals = generator(seed), []
    with torch.random.fork_rng(devices=[]):
        for number, source in enumerate((generator(seed), random, random, generator(seed + 50))):
            torch.manual_seed(number)
            deals.append(_deal(answer, drawn.domains, drawn.tokens, source))
    require(
        torch.equal(deals[0], deals[1]),
        "The same generator deals twice differently.",
        cause="Something draws from the global generator, or from NumPy's or Python's.",
        cure="Hand `generator=generator` to every draw.",
    )
    require(
        not torch.equal(deals[1], deals[3]),
        "Two generators of different seeds deal alike.",
        cause="The generator that was given is not the one that draws, or it is set to another "
        "seed.",
        cure="Hand `generator=generator` to every draw, and make none of your own.",
    )
    require(
        not torch.equal(deals[1], deals[2]),
        "Two calls with the same generator deal alike: it is where it was before the first.",
        cause="A copy of it was used, or it was set back to its seed.",
        cure="Draw from the generator itself and leave its seed alone.",
    )
