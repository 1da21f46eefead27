"""Chapter 05, exercise 5.2: the dense net that equals an MoE layer."""

import random
from numbers import Integral
from typing import Any

from moe_teach.chapters.ch05_language_model.width_slips import right_width, width_slips
from moe_teach.judging.exercise import MISSING, Exercise, Words, WrongAnswer, require

EXERCISE = Exercise(
    id="5.2",
    name="iso_flop_hidden",
    title="The dense net to compare with",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "Count the numbers of the MoE layer in units of d_model: an expert has n_matrices · "
        "d_expert of them, the router n_experts, a dense net of width F n_matrices · F. Set equal.",
        'For "active" count top_k experts, for "total" all n_experts. Shared expert and router '
        "work on every token and are stored once: they count fully both times. Then round up.",
        "rows = n_matrices * (n_counted * d_expert + d_shared) + n_experts; "
        "width = ceil(rows / (n_matrices * multiple_of)) * multiple_of",
    ),
    explanation="A router of n_experts rows costs as much as n_experts / n_matrices hidden units: "
    "nothing beside wide experts, and quite something beside 256 thin ones. Rounding up is a rule "
    "of good manners: the baseline gets the benefit of the doubt.",
)
# n_experts, top_k, d_expert, d_shared, n_matrices, multiple_of; small cases first
CASES = (
    (4, 1, 6, 0, 2, 1),
    (3, 2, 5, 0, 3, 1),
    (6, 2, 7, 5, 3, 1),
    (5, 2, 9, 4, 2, 1),
    (7, 3, 10, 6, 3, 8),
    (64, 8, 96, 192, 3, 64),
    (5, 5, 9, 4, 3, 1),  # all experts at work
    (1, 1, 8, 0, 2, 4),
    (7, 3, 2**25 + 1, 3, 2, 1),  # more than a float32 can tell apart
)
OTHER_WIDTH = "This is not the width of an equal net."
WORDS = ("seconds", "Active", "TOTAL", "act", "totals", "")
_NAMES = ("n_experts", "top_k", "d_expert", "d_shared", "n_matrices", "multiple_of")


def _drawn(seed: int) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    made = []
    for _ in range(4):
        n_experts = draw.randrange(3, 40)
        sizes = (n_experts, draw.randrange(1, n_experts), draw.randrange(8, 99))
        made.append((*sizes, draw.randrange(1, 50), draw.choice((2, 3)), draw.choice((1, 4, 16))))
    return [*CASES, *made]


def _judge(answer: Any, equal: str, seed: int) -> None:
    """Judge all cases before speaking: one case alone may fit two slips."""
    cases = _drawn(seed)
    given = [dict(zip(_NAMES, case, strict=True)) | {"equal": equal} for case in cases]
    got = [answer(**example) for example in given]
    expected = [right_width(case, equal) for case in cases]
    if got == expected:
        return
    first = next(i for i, pair in enumerate(zip(got, expected, strict=True)) if len(set(pair)) > 1)
    facts = {"expected": expected[first], "got": got[first], "example": given[first]}
    slips = [width_slips(case, equal) for case in cases]
    for told in slips[0]:
        cause, cure = told
        is_it = got == [slip[told] for slip in slips]
        require(not is_it, OTHER_WIDTH, cause=cause, cure=cure, **facts)
    wrong = [case for case, *pair in zip(cases, got, expected, strict=True) if len(set(pair)) > 1]
    require(
        any(n_experts != top_k for n_experts, top_k, *_ in wrong),
        "Only where all experts work on every token (top_k = n_experts) is this wrong.",
        cause="Such a layer was taken for a case of its own.",
        cure="It still has a router, and the same formula holds.",
        **facts,
    )
    require(
        any(d_expert < 2**24 for _, _, d_expert, *_ in wrong),
        "Only a very wide layer comes out wrong.",
        cause="Some number type is too narrow: float32 has 24 bits and rounds what is larger.",
        cure="Whole numbers of Python are exact.",
        **facts,
    )
    require(
        False,
        OTHER_WIDTH,
        cause="Something is counted in another unit than its neighbours, or rounded twice.",
        cure="Count in units of d_model: the routed experts, the shared one and the router of the "
        "MoE on one side, n_matrices · width on the other. Round up, and round once, at the end.",
        **facts,
    )


@EXERCISE.stage("an integer")
def _hidden_form(answer: Any, seed: int) -> None:
    given = dict(zip(_NAMES, CASES[0], strict=True))
    for equal in ("active", "total"):
        got = answer(**given, equal=equal)
        require(
            isinstance(got, Integral) and not isinstance(got, bool),
            "A width is a plain whole number, an `int`, and something else came.",
            cause="A layer cannot have 7.5 hidden units.",
            cure="`math.ceil` gives a whole number.",
            got=got,
            example=given | {"equal": equal},
        )


@EXERCISE.stage("equal active")
def _hidden_active(answer: Any, seed: int) -> None:
    _judge(answer, "active", seed)


@EXERCISE.stage("equal total")
def _hidden_total(answer: Any, seed: int) -> None:
    _judge(answer, "total", seed)


@EXERCISE.stage("defaults")
def _hidden_defaults(answer: Any, seed: int) -> None:
    got = answer(9, 2, 10)
    require(
        got == 23,
        "With only the first three arguments there is no shared expert, three matrices, equal "
        "active parameters, and any width. That makes another width.",
        cause="A parameter has another default than in the stub.",
        cure='Keep the defaults of the stub, equal="active" too.',
        expected=23,
        got=got,
        example={"n_experts": 9, "top_k": 2, "d_expert": 10},
    )


@EXERCISE.stage("another word")
def _hidden_refuses(answer: Any, seed: int) -> None:
    for word in WORDS:
        got = _told_a_wrong_word(answer, word)
        require(
            got is MISSING,
            f'"{word}" is neither "active" nor "total", and must raise a ValueError.',
            cause="A typo that quietly gives the other baseline is a wrong result nobody notices; "
            "and a KeyError or an assert is no ValueError.",
            cure='Begin with `if equal not in ("active", "total"): raise ValueError(...)`.',
            expected=Words("a ValueError"),
            got=got,
            example={"n_experts": 4, "top_k": 1, "d_expert": 6, "equal": word},
        )


def _told_a_wrong_word(answer: Any, word: str) -> Any:
    """Say what came instead of a ValueError."""
    try:
        return answer(4, 1, 6, equal=word)
    except ValueError:
        return MISSING
    except WrongAnswer as problem:
        if "returned None" not in str(problem):
            raise
        return None
    except Exception as problem:
        return Words(type(problem).__name__)
