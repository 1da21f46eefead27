"""Chapter 07, exercise 7.1: designs of equal size, and how many routes each offers."""

import math
from typing import Any

from moe_teach.judging.exercise import Exercise, Words, require

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
            "Return four numbers, `n_experts, top_k, d_ff, n_routes`, in this order.",
            **shown,
        )
        is_default = case[-1] == 0 and case[3] > 1
        named = answer(**dict(zip(NAMES, case, strict=True)))
        require(
            named == got and (not is_default or answer(*case[:-1]) == got),
            "The same design comes out differently when the arguments are named, or when n_shared "
            "is left out and stands for 0. Keep the stub's parameters and their default.",
            **shown,
        )
        require(
            all(type(number) is int for number in got),
            "All four are whole numbers, and one of yours is not an int. `/` makes floats even "
            "where it comes out even: use `//` for the width and `math.comb` for the routes.",
            **shown,
        )


@EXERCISE.stage("the pool")
def _pool(answer: Any, seed: int) -> None:
    for (n_experts, _, _, split, _), expected, got, shown in _each(answer, 0):
        require(
            got == expected or split > 1,
            "The number of routed experts is off, and nothing was to be cut: `split` is 1.",
            cause="Nothing is cut here, and the shared experts leave the pool all the same.",
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
            cure="Every expert becomes `split` experts, and n_shared of these leave the pool.",
            **shown,
        )


@EXERCISE.stage("the places")
def _places(answer: Any, seed: int) -> None:
    for (_, top_k, _, split, _), expected, got, shown in _each(answer, 1):
        require(
            got == expected or got != top_k,
            "With top_k unchanged and narrower experts a token gets less work than before.",
            cure="Choose `split` times as many.",
            **shown,
        )
        require(
            got == expected or got != top_k * split,
            "The new layer does more work than the old one.",
            cause="A shared expert is active for every token, so it uses one of the places.",
            **shown,
        )
        require(
            got == expected,
            "The number of active hidden units changed.",
            cause="(top_k + n_shared) x d_ff of the new layer must be top_k x d_ff of the old one.",
            **shown,
        )


@EXERCISE.stage("the width")
def _width(answer: Any, seed: int) -> None:
    for _, expected, got, shown in _each(answer, 2):
        require(
            got == expected,
            "Each part has the width d_ff / split; otherwise the layer grows or shrinks.",
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


def _refused(answer: Any, case: tuple[int, ...]) -> Any:
    """Call with an impossible design; give back what came, or None where it was refused."""
    try:
        return answer(*case)
    except ValueError as refusal:
        return None if str(refusal).strip() else Words("a ValueError without a word")
    except AssertionError:
        return Words("an AssertionError")


IMPOSSIBLE = (
    (
        (8, 1, 10, 4, 0),
        "A width of 10 cannot be cut into 4 equal parts. Rounding it away makes the layer "
        "smaller without telling anybody: raise a ValueError.",
    ),
    (
        (8, 1, 2, 4, 0),
        "A width of 2 cannot be cut into 4 equal parts: there is less than one unit for each. "
        "Raise a ValueError.",
    ),
    (
        (8, 1, 64, 2, 2),
        "With as many shared experts as places the router has nothing to choose (k = 0): raise "
        "a ValueError.",
    ),
    (
        (8, 2, 64, 2, 5),
        "With more shared experts than places k is negative: raise a ValueError that says so.",
    ),
    (
        (8, 1, 64, 1, 1),
        "Nothing is cut here, and the one place goes to a shared expert: the router has "
        "nothing to choose. Raise a ValueError.",
    ),
    (
        (4, 1, 64, 2, 8),
        "All experts are shared here, and no place is left for the router: raise a ValueError.",
    ),
)


@EXERCISE.stage("impossible designs")
def _impossible(answer: Any, seed: int) -> None:
    for case, message in IMPOSSIBLE:
        got = _refused(answer, case)
        if isinstance(got, ValueError):
            message = "A ValueError was *returned*, and nobody notices that. Write `raise`."
        if got == "a ValueError without a word":
            message = "This design is refused without saying why. Give the ValueError a sentence."
        elif isinstance(got, Words):
            message = (
                "This design is refused, but by an AssertionError. An assert vanishes under "
                "`python -O`; for bad input, raise ValueError."
            )
        require(
            got is None,
            message,
            expected=Words("a ValueError"),
            got=got,
            example=dict(zip(NAMES, case, strict=True)),
        )
