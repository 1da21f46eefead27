"""Chapter 11, exercise 11.7: the reader's measure and the reader's null, joined to a verdict."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.analysis.specialisation.nulls import permuted
from moe_teach.chapters.ch11_reading_the_router import bits
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.chapters.ch11_reading_the_router.made_up import (
    KEYS,
    VERDICTS,
    Numbers,
    made_up_parts,
    means,
    mistaken,
    verdict_of,
)
from moe_teach.judging.exercise import Exercise, Words, generator, require
from moe_teach.judging.reasons import Why
from moe_teach.judging.stand_ins import require_own_part

EXERCISE = Exercise(
    id="11.7",
    name="my_audit",
    title="Your audit of a router",
    points=3,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("11.1", "11.2"),
    limit=60,
    hints=(
        "Two nulls for each layer, both with nothing given to the measure: domains dealt among all "
        "tokens, and domains dealt within the token.",
        "Write deals(ids, given): information(ids, shuffled(domains, given, generator)), n_deals "
        "times, in a list. Dealt among all tokens is the same with a column of zeros for `given`.",
        "for ids in expert_ids.unbind(1): bits = information(ids, domains); chance = deals(ids, "
        "zeros); token = deals(ids, tokens); verdict: more if bits > max(token), else token if "
        "bits > max(chance), else nothing.",
    ),
    explanation="Being above all of n deals happens by chance once in n + 1 times. With 19 deals "
    "and four layers, one false alarm in five audits: who looks at many layers, models or groups "
    'needs more deals. And "more than the token" is a finding about this text and this model. It '
    "says nothing about why, and nothing about importance (11.3).",
)


def dealt(labels: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
    """Deal labels within groups of the same `given`, called as in 11.2."""
    return permuted(labels, generator, given)


PARTS: dict[str, Callable[..., Any]] = {"information": bits.information, "shuffled": dealt}
OF_EXERCISE = {"information": "11.1", "shuffled": "11.2"}


def right(
    expert_ids: Tensor,
    tokens: Tensor,
    domains: Tensor,
    n_deals: int,
    generator: torch.Generator,
    *,
    slip: str = "",
    **parts: Callable[..., Any],
) -> list[dict[str, Any]]:
    """Audit every layer; `slip` names the one thing that goes wrong."""
    parts = {**PARTS, **parts}
    measure, shuffled = parts["information"], parts["shuffled"]
    rows = []
    for ids in expert_ids.unbind(1):
        own = ids[:, :1] if slip == "first choice" else ids
        told = float(measure(own, domains))
        nulls = []
        for given in (torch.zeros_like(tokens), tokens):
            known = (tokens,) if slip == "conditional" else ()
            deals = [shuffled(domains, given, generator) for _ in range(n_deals)]
            found = [float(measure(own, one, *known)) for one in deals]
            nulls.append(found)
        chance, token = nulls[::-1] if slip == "swapped" else nulls
        bound = [sum(n) / n_deals if slip == "mean" else max(n) for n in (chance, token)]
        is_above = [told > one for one in bound]
        number = is_above[0] + all(is_above)
        if slip == "token first" and is_above[1]:
            number = 2
        nulls = [max(n) if slip == "highest" else sum(n) / n_deals for n in (chance, token)]
        rows.append(dict(zip(KEYS, (told, *nulls, VERDICTS[number]), strict=True)))
    return rows


def some_model(seed: int, n_tokens: int = 301) -> tuple[Tensor, Tensor, Tensor]:
    """Draw three layers: one that follows nothing, one the token, one more than the token."""
    plain = some_routes(seed, n_tokens, n_ids=9, beyond=0.0)
    more = some_routes(seed, n_tokens, n_ids=9, beyond=3.0)
    random = generator(seed + 77)
    nothing = torch.rand(n_tokens, 5, generator=random).topk(2, dim=-1).indices
    table = torch.rand(9, 5, generator=random).topk(2, dim=-1).indices
    return (
        torch.stack([nothing, table[plain.tokens], more.expert_ids], 1),
        more.tokens,
        more.domains,
    )


def _example(tables: tuple[Tensor, ...], n_deals: int) -> dict[str, Any]:
    return dict(zip(("expert_ids", "tokens", "domains"), tables, strict=True)) | {
        "n_deals": n_deals
    }


def _near(got: Any, expected: list[dict[str, Any]], allowed: float) -> bool:
    return all(
        abs(float(one[key]) - other[key]) <= (1e-4 if key == "bits" else allowed)
        for one, other in zip(got, expected, strict=True)
        for key in KEYS[:3]
    )


@EXERCISE.stage("what comes back")
def _audit_form(answer: Any, seed: int) -> None:
    tables = some_model(seed, 29)
    got = answer(*tables, 2, generator(seed), **PARTS)
    example = _example(tables, 2)
    is_list = isinstance(got, list) and len(got) == 3 and all(isinstance(r, dict) for r in got)
    require(
        is_list and all(set(row) == set(KEYS) for row in got),
        "A list is asked for, with a dictionary for each layer that has these four names.",
        expected=Words(f"3 dictionaries with {', '.join(KEYS)}"),
        got=got,
        example=example,
    )
    require(
        all(row["verdict"] in VERDICTS for row in got),
        "A verdict is none of the three.",
        expected=VERDICTS,
        got=[row["verdict"] for row in got],
        example=example,
    )


@EXERCISE.stage("the numbers")
def _audit_numbers(answer: Any, seed: int) -> None:
    tables, n_deals = some_model(seed, 31), 5
    numbers = torch.rand(3, 2 * n_deals + 1, generator=generator(seed), dtype=torch.float64)
    made_up = [
        Numbers(row[0], row[1 : n_deals + 1], row[n_deals + 1 :]) for row in numbers.tolist()
    ]
    got = answer(*tables, n_deals, generator(seed), **made_up_parts(tables, made_up))
    expected = means(made_up)
    is_right = _near(got, expected, 1e-4)
    slips = (why for numbers, why in mistaken(made_up) if _near(got, numbers, 1e-4))
    otherwise = Why(
        "Is each null the mean over its own deals, in its own layer?",
        "sum(found) / n_deals, layer by layer.",
    )
    why = Why() if is_right else next(slips, otherwise)
    example = {f"layer {i}": row._asdict() for i, row in enumerate(made_up)}
    require(
        is_right,
        "The bits, or the means of the nulls, are other numbers. What `information` measures is "
        "made up here.",
        **why._asdict(),
        expected=[{key: round(row[key], 3) for key in KEYS[:3]} for row in expected],
        got=[{key: round(float(row[key]), 3) for key in KEYS[:3]} for row in got],
        example=example,
    )


@EXERCISE.stage("a new deal every time")
def _audit_deals(answer: Any, seed: int) -> None:
    seen, sources = [], []

    def shuffled(labels: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(given.clone())
        sources.append(generator)
        return dealt(labels, given, generator)

    tables, random = some_model(seed, 23), generator(seed)
    answer(*tables, 4, random, **(PARTS | {"shuffled": shuffled}))
    within = sum(torch.equal(given, tables[1]) for given in seen)
    require(
        within == 12 and len(seen) == 24,
        "With 4 deals and 3 layers, 12 deals within the token are asked for, and 12 among all.",
        cause="One deal was used for several numbers, or one null was left out.",
        cure="For each layer n_deals of each kind, all of them by `shuffled`.",
        expected=Words("24 deals, 12 of them within the token"),
        got=Words(f"{len(seen)} deals, {within} of them within the token"),
    )
    require(
        all(source is random for source in sources),
        "A deal did not get the generator that my_audit was given.",
        cause="A generator was made anew, for each deal perhaps.",
        cure="shuffled(domains, given, generator), always with the same one.",
    )


@EXERCISE.stage("the verdict")
def _audit_verdict(answer: Any, seed: int) -> None:
    tables = tuple(table[:, :1] if table.ndim == 3 else table for table in some_model(seed, 19))
    for told in (
        Numbers(0.4, [0.2, 0.8], [0.2, 0.8]),
        Numbers(0.4, [0.2, 0.36], [0.2, 0.8]),
        Numbers(0.4, [0.04, 0.08], [0.32, 0.36]),
        Numbers(0.4, [0.2, 0.8], [0.04, 0.08]),
        Numbers(0.4, [0.08, 0.4], [0.08, 0.4]),
        Numbers(0.4, [0.04, 0.08], [0.2, 0.4]),
    ):
        expected = verdict_of(told)
        (row,) = answer(*tables, 2, generator(seed), **made_up_parts(tables, [told]))
        require(
            row["verdict"] == expected,
            f"{told.bits} bits, against {_both(told.by_chance)} by chance and "
            f"{_both(told.by_token)} by the token, is another verdict.",
            cause="The bits must lie above *every* deal of a null to be more than it, equal is not "
            "above, and who is not above chance is nothing, whatever the other null says.",
            cure="Compare with max(...), first with the deals among all, then within the token.",
            expected=expected,
            got=row["verdict"],
        )


def _both(values: list[float]) -> str:
    return " and ".join(f"{value:.2f}" for value in values)


@EXERCISE.stage("with your parts")
def _audit_yours(answer: Any, seed: int) -> None:
    tables = some_model(seed, 101)
    expected = right(*tables, 8, generator(seed))
    for name in PARTS:
        others = {other: PARTS[other] for other in PARTS if other != name}
        seen = ""
        try:
            got = answer(*tables, 8, generator(seed), **others)
            is_right = _near(got, expected, 0.08)
        except Exception as error:
            got, is_right, seen = None, False, f" It raises {type(error).__name__}: {error}"
        require_own_part(
            is_right, name, OF_EXERCISE[name], f"the numbers are others.{seen}",
            expected=expected, got=got or Words("an error"),
        )  # fmt: skip
