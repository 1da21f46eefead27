"""Chapter 11, exercise 11.7: the reader's measure and the reader's null, joined to a verdict."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.analysis.specialisation.nulls import permuted
from moe_teach.chapters.ch11_reading_the_router import bits
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
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
VERDICTS = ("nothing", "the token", "more than the token")
KEYS = ("bits", "by chance", "by the token", "verdict")


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
        number = (told > bound[0]) + (told > bound[0] and told > bound[1])
        means = [sum(n) / n_deals for n in (chance, token)]
        rows.append(dict(zip(KEYS, (told, *means, VERDICTS[number]), strict=True)))
    return rows


_SLIPS = {
    "swapped": Why(
        "The two nulls are swapped.", "By the token: dealt among tokens that are the same."
    ),
    "conditional": Why(
        "The nulls were measured with the token given, and the bits without.",
        "Nothing is given to the measure in either; the token is given to the deal.",
    ),
    "first choice": Why("Only the first choices were read.", "expert_ids[:, layer] is (T, K)."),
}


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
    tables, n_deals = some_model(seed), 30
    got = answer(*tables, n_deals, generator(seed), **PARTS)
    expected = right(*tables, n_deals, generator(seed))
    slips = (
        s for s in _SLIPS if _near(got, right(*tables, n_deals, generator(seed), slip=s), 0.01)
    )
    is_right = _near(got, expected, 0.01)
    otherwise = Why(
        "Is each null the mean over all deals?", "sum(found) / n_deals, layer by layer."
    )
    why = Why() if is_right else _SLIPS.get(next(slips, ""), otherwise)
    require(
        is_right,
        "The bits, or the means of the nulls, are other numbers.",
        **why._asdict(),
        expected=[{key: round(row[key], 3) for key in KEYS[:3]} for row in expected],
        got=[{key: round(float(row[key]), 3) for key in KEYS[:3]} for row in got],
        example=_example(tables, n_deals),
    )


@EXERCISE.stage("a new deal every time")
def _audit_deals(answer: Any, seed: int) -> None:
    seen = []

    def shuffled(labels: Tensor, given: Tensor, random: torch.Generator) -> Tensor:
        seen.append(given.clone())
        return dealt(labels, given, random)

    tables = some_model(seed, 23)
    answer(*tables, 4, generator(seed), **(PARTS | {"shuffled": shuffled}))
    within = sum(torch.equal(given, tables[1]) for given in seen)
    require(
        within == 12 and len(seen) == 24,
        "With 4 deals and 3 layers, 12 deals within the token are asked for, and 12 among all.",
        cause="One deal was used for several numbers, or one null was left out.",
        cure="For each layer n_deals of each kind.",
        expected=Words("24 deals, 12 of them within the token"),
        got=Words(f"{len(seen)} deals, {within} of them within the token"),
    )


@EXERCISE.stage("the verdict")
def _audit_verdict(answer: Any, seed: int) -> None:
    tables = tuple(table[:, :1] if table.ndim == 3 else table for table in some_model(seed, 19))
    real = bits.information(tables[0][:, 0], tables[2])
    for by_chance, by_token, verdict in (
        ((0.5, 2.0), (0.5, 2.0), "nothing"),
        ((0.5, 0.9), (0.5, 2.0), "the token"),
        ((0.1, 0.2), (0.8, 0.9), "more than the token"),
        ((0.2, 1.0), (0.2, 1.0), "nothing"),
        ((0.1, 0.2), (0.5, 1.0), "the token"),
    ):
        left = {True: iter(by_token), False: iter(by_chance)}
        kind = [False]

        def shuffled(labels: Tensor, given: Tensor, random: torch.Generator, kind=kind) -> Tensor:
            kind[0] = torch.equal(given, tables[1])
            return labels + 1000

        def measure(ids: Tensor, labels: Tensor, given: Any = None, left=left, kind=kind) -> float:
            is_null = int(labels.max()) >= 1000
            return next(left[kind[0]]) * real if is_null else real

        (row,) = answer(*tables, 2, generator(seed), information=measure, shuffled=shuffled)
        require(
            row["verdict"] == verdict,
            f"{real:.3f} bits, against {_times(by_chance, real)} by chance and "
            f"{_times(by_token, real)} by the token, is another verdict.",
            cause="The bits must lie above *every* deal of a null to be more than it, and equal is "
            "not above.",
            cure="Compare with max(...), first with the deals among all, then within the token.",
            expected=verdict,
            got=row["verdict"],
        )


def _times(factors: tuple[float, ...], real: float) -> str:
    return " and ".join(f"{factor * real:.3f}" for factor in factors)


@EXERCISE.stage("with your parts")
def _audit_yours(answer: Any, seed: int) -> None:
    tables = some_model(seed, 101)
    expected = right(*tables, 40, generator(seed))
    for name in PARTS:
        others = {other: PARTS[other] for other in PARTS if other != name}
        seen = ""
        try:
            got = answer(*tables, 40, generator(seed), **others)
            is_right = _near(got, expected, 0.03)
        except Exception as error:
            got, is_right, seen = None, False, f" It raises {type(error).__name__}: {error}"
        require_own_part(
            is_right, name, OF_EXERCISE[name], f"the numbers are others.{seen}",
            expected=expected, got=got or Words("an error"),
        )  # fmt: skip
