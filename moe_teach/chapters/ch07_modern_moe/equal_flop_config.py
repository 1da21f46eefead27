"""Chapter 07, exercise 7.1: designs of equal size, and how many routes each offers."""

import math
from typing import Any

from moe_teach.chapters.ch07_modern_moe.impossible_designs import (
    IMPOSSIBLE,
    OTHERWISE,
    refused,
)
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="7.1",
    name="equal_flop_config",
    title="The same bill, more menus",
    points=1,
    difficulty=2,
    importance=4,
    minutes=15,
    hints=(
        "Think of hidden units. Before: n_experts x d_ff of them in all, top_k x d_ff active. Both "
        "products must stay, and the shared experts are part of both.",
        "Everything is cut by `split` or multiplied by it. Then n_shared is taken from the pool "
        "*and* from the places. `math.comb(n, k)` counts sets.",
        "n = n_experts * split - n_shared; k = top_k * split - n_shared; return n, k, "
        "d_ff // split, math.comb(n, k). Before that: `if d_ff % split: raise ValueError(...)`, "
        "and the same for k < 1.",
    ),
    explanation="Hidden units are what costs: 3·D numbers and 6·D FLOPs each. Cutting moves none "
    "of them, so the bill stays and only the number of menus grows: from 8 choose 1 = 8 to 64 "
    "choose 8, more than four thousand million. Shared experts pay with places, not with extra "
    "FLOPs. One thing stays out of this bill: the router's matrix grows with the number of "
    "experts.",
)

GIVEN = (  # n_experts, top_k, d_ff, split, n_shared
    (2, 1, 1, 1, 0),
    (8, 1, 64, 2, 0),
    (3, 2, 15, 5, 0),
    (8, 1, 64, 4, 1),
    (7, 2, 66, 3, 5),
    (16, 2, 4096, 8, 1),
    (5, 3, 7, 1, 2),  # nothing is cut, and two experts are shared all the same
    (4, 4, 6, 2, 3),  # everybody is chosen
    (3, 2, 10, 5, 9),  # one place left
)
NAMES = ("n_experts", "top_k", "d_ff", "split", "n_shared")


def _expected(case: tuple[int, ...]) -> tuple[int, int, int, int]:
    n_experts, top_k, d_ff, split, n_shared = case
    n, k = n_experts * split - n_shared, top_k * split - n_shared
    return n, k, d_ff // split, math.comb(n, k)


def _each(answer: Any, field: int) -> Any:
    """Give, for every case, what is expected and what came, and the words for a message."""
    for case in GIVEN:
        expected, got = _expected(case), answer(*case)
        shown = {"expected": expected, "got": got, "example": dict(zip(NAMES, case, strict=True))}
        yield case, expected[field], got[field], shown


@EXERCISE.stage("form")
def _form(answer: Any, seed: int) -> None:
    for case in GIVEN:
        got = answer(*case)
        shown = {"got": got, "example": dict(zip(NAMES, case, strict=True))}
        require(
            isinstance(got, tuple) and len(got) == 4,
            "This is not a tuple of four numbers.",
            cure="Return `n_experts, top_k, d_ff, n_routes`, in this order.",
            **shown,
        )
        is_default = case[-1] == 0 and case[3] > 1
        named = answer(**dict(zip(NAMES, case, strict=True)))
        require(
            named == got and (not is_default or answer(*case[:-1]) == got),
            "The same design comes out differently when the arguments are named, or when n_shared "
            "is left out and stands for 0.",
            cause="A parameter has another name or place, or another default.",
            cure="Keep the stub's parameters and their default.",
            **shown,
        )
        require(
            all(type(number) is int for number in got),
            "All four are whole numbers, and one of yours is not an int.",
            cause="`/` makes floats even where it comes out even.",
            cure="Use `//` for the width and `math.comb` for the routes.",
            **shown,
        )


@EXERCISE.stage("the pool")
def _pool(answer: Any, seed: int) -> None:
    for (n_experts, _, _, split, _), expected, got, shown in _each(answer, 0):
        require(
            got == expected or split > 1,
            "The number of routed experts is off, and nothing was to be cut: `split` is 1.",
            cause="Nothing is cut here, and the shared experts leave the pool all the same.",
            cure="Subtract n_shared, whatever `split` is.",
            **shown,
        )
        require(
            got == expected or got != n_experts * split,
            "The number of routed experts is off.",
            cause="The shared experts still stand in the pool.",
            cure="Nobody chooses them any more, so they leave it.",
            **shown,
        )
        require(
            got == expected,
            "The number of routed experts is off.",
            cause="The experts were cut and shared in another way: n_shared counts *parts*.",
            cure="Every expert becomes `split` experts, and n_shared of these leave the pool.",
            **shown,
        )


@EXERCISE.stage("the places")
def _places(answer: Any, seed: int) -> None:
    for (_, top_k, _, split, _), expected, got, shown in _each(answer, 1):
        require(
            got == expected or got != top_k,
            "With top_k unchanged and narrower experts a token gets less work than before.",
            cause="Each of the chosen does 1 / split of the work now.",
            cure="Choose `split` times as many.",
            **shown,
        )
        require(
            got == expected or got != top_k * split,
            "The new layer does more work than the old one.",
            cause="A shared expert is active for every token, so it uses one of the places.",
            cure="Subtract n_shared from the places of the router.",
            **shown,
        )
        require(
            got == expected,
            "The number of active hidden units changed.",
            cause="(top_k + n_shared) x d_ff of the new layer must be top_k x d_ff of the old one.",
            cure="The router fills top_k * split - n_shared places.",
            **shown,
        )


@EXERCISE.stage("the width")
def _width(answer: Any, seed: int) -> None:
    for _, expected, got, shown in _each(answer, 2):
        require(
            got == expected,
            "The width of a part is off.",
            cause="With another width the layer grows or shrinks.",
            cure="Each part has the width d_ff // split.",
            **shown,
        )


@EXERCISE.stage("the routes")
def _routes(answer: Any, seed: int) -> None:
    for case, expected, got, shown in _each(answer, 3):
        n, k = _expected(case)[:2]
        require(
            got == expected or got != math.perm(n, k),
            "The number of routes is too high.",
            cause="This counts ordered lists.",
            cure="A route is a set: experts 3 and 5 are the same route as 5 and 3.",
            **shown,
        )
        require(
            got == expected or got not in (n**k, math.comb(n + k - 1, k)),
            "The number of routes is too high.",
            cause="This lets a token choose the same expert twice.",
            cure="The k experts of a route differ.",
            **shown,
        )
        require(
            got == expected or got != math.comb(case[0], case[1]),
            "The number of routes is off.",
            cause="This counts the routes of the old layer.",
            cure="Count those of the finer one.",
            **shown,
        )
        require(
            got == expected,
            "The number of routes is off.",
            cause="Shared experts are the same for everybody.",
            cure="It is the number of sets of k *routed* experts: n choose k, with the n and k "
            "that you return.",
            **shown,
        )


@EXERCISE.stage("impossible designs")
def _impossible(answer: Any, seed: int) -> None:
    for case, symptom, cause in IMPOSSIBLE:
        got = refused(answer, case)
        why = Why(cause, "Raise a ValueError that says so, before anything is computed.")
        how = "returned" if isinstance(got, ValueError) else got
        if isinstance(how, str):
            symptom, why = OTHERWISE.get(how, (symptom, why))
        require(
            got is None,
            symptom,
            **why._asdict(),
            expected=Words("a ValueError"),
            got=got,
            example=dict(zip(NAMES, case, strict=True)),
        )
