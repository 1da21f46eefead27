"""Chapter 05, exercise 5.5: is it a win, if nobody knows the distribution?"""

import math
import random
from itertools import product
from statistics import mean
from typing import Any

from moe_teach.judging.exercise import Exercise, require

EXERCISE = Exercise(
    id="5.5",
    name="sign_flip_test",
    title="Is it a win, if nobody knows the distribution?",
    points=2,
    difficulty=4,
    importance=5,
    minutes=20,
    version=2,
    hints=(
        "If the two models are equally good, each gain might as well have had the other sign. So "
        "the gains you have are one of 2^n equally likely patterns. How many of them look at least "
        "as decided as yours?",
        "`itertools.product((1, -1), repeat=n)` gives all patterns, the one you have among them. "
        "Compare |sum of sign times gain| with |sum of gains|, and allow for rounding.",
        "observed = abs(sum(gains)); hits = sum(abs(sum(s * g for s, g in zip(signs, gains))) >= "
        "observed - 1e-9 for signs in product((1, -1), repeat=n)); p = hits / 2**n; a finding if "
        "p <= level, named by the sign of the mean.",
    ),
    explanation="No bell curve is assumed, only that under equal models a gain is as likely as a "
    "loss of the same size. The price: with n seeds p cannot fall below 2 / 2^n. Three seeds reach "
    "0.25, five 0.0625, and only six can pass 5 %. Student's interval says more from fewer seeds, "
    "because it assumes more: gains spread like a bell curve.",
)
NOISE = "inside the noise"
VERDICTS = ("better", "worse", NOISE)
Pair = tuple[tuple[float, ...], tuple[float, ...]]

# Gains in 64ths: their sums are exact. All of one sign; mixed; with a zero; with equal sizes.
GAINS = (
    (20, 8, 13),
    (20, -6, 13, 5),
    (9, 0, 4, 11, 6, 2),
    (5, 5, -5, 5, 5),
    (-31, -12, -7, -4, -9, -22, -15),
    (1, -1),
)


def _pair(gains: tuple[float, ...], seed: int) -> Pair:
    draw = random.Random(seed)
    base = tuple(draw.randrange(128, 256) / 64 for _ in gains)
    return base, tuple(b - g / 64 for b, g in zip(base, gains, strict=True))


def _shares(pair: Pair) -> dict[str, float]:
    """Give the share of sign patterns that the right rule and the usual slips count."""
    gains = [b - c for b, c in zip(*pair, strict=True)]
    sums = [
        sum(s * g for s, g in zip(signs, gains, strict=True))
        for signs in product((1, -1), repeat=len(gains))
    ]
    seen, size = sum(gains), len(sums)
    return {
        "right": sum(abs(s) >= abs(seen) - 1e-9 for s in sums) / size,
        "one side": sum(s >= seen - 1e-9 for s in sums) / size,
        "other side": sum(s <= seen + 1e-9 for s in sums) / size,
        "beyond": sum(abs(s) > abs(seen) + 1e-9 for s in sums) / size,
        "signs": 2 * 0.5 ** len(gains),
    }


_CAUSES = {
    "one side": "Only patterns on the side of your gains were counted. An equal model could have "
    "been that much worse as well: compare sizes, without the sign.",
    "other side": "Patterns up to yours were counted, or such as change no mean: seeds shuffled "
    "within a list.",
    "beyond": "Patterns exactly as decided as yours do not count here, not even yours itself: they "
    "do.",
    "signs": "This is the chance that all signs agree. How large the gains are matters too: a "
    "small gain of the other sign weighs little.",
}
_CURE = (
    "Go through all 2^n patterns of signs, yours included, and count those whose sum is at least "
    "as far from zero as yours, on either side."
)


def _facts(answer: Any, pair: Pair, level: float = 0.05) -> dict[str, Any]:
    given = {"baseline": pair[0], "candidate": pair[1], "level": level}
    return {"got": answer(**given), "example": given}


@EXERCISE.stage("three results")
def _flip_form(answer: Any, seed: int) -> None:
    for gains in GAINS:
        facts = _facts(answer, _pair(gains, seed))
        got = facts["got"]
        require(
            isinstance(got, tuple | list)
            and len(got) == 3
            and all(isinstance(part, float) for part in got[:2])
            and isinstance(got[2], str),
            "These are not a gain and a p, both plain floats, and a verdict in words.",
            cause="One of the three is left out, came in another order, or is a tensor.",
            cure="Return three things, with commas between them: gain, p, verdict.",
            **facts,
        )


@EXERCISE.stage("mean gain")
def _flip_mean(answer: Any, seed: int) -> None:
    for gains in GAINS:
        facts = _facts(answer, _pair(gains, seed))
        expected = mean(gains) / 64
        require(
            math.isclose(facts["got"][0], expected, rel_tol=1e-6, abs_tol=1e-9),
            "This is not the mean of baseline minus candidate, seed by seed.",
            cause="A gain is positive when the *candidate* has the lower loss, and their mean is "
            "asked for, with its sign.",
            cure="[old - new for old, new in zip(baseline, candidate)], then the mean.",
            expected=expected,
            **{**facts, "got": facts["got"][0]},
        )


def _require_p(answer: Any, pair: Pair, message: str) -> None:
    facts, shares = _facts(answer, pair), _shares(pair)
    got = facts["got"][1]
    slip = next((name for name, p in shares.items() if math.isclose(got, p, rel_tol=1e-9)), "")
    require(
        slip == "right",
        message,
        cause=_CAUSES.get(
            slip,
            "Patterns were drawn at random, some are missing, the two lists were shuffled together "
            "instead of exchanged seed by seed, or the share is of another number of patterns.",
        ),
        cure=_CURE,
        expected=shares["right"],
        **{**facts, "got": got},
    )


@EXERCISE.stage("p")
def _flip_p(answer: Any, seed: int) -> None:
    for gains in GAINS:
        _require_p(answer, _pair(gains, seed), "This is not the share of sign patterns.")
    draw = random.Random(seed)
    many = tuple(draw.randrange(-30, 60) for _ in range(9))
    _require_p(answer, _pair(many, seed), "With nine seeds this is not the share of the patterns.")


@EXERCISE.stage("ties in rounding")
def _flip_rounding(answer: Any, seed: int) -> None:
    base = (2.0, 2.0, 2.0, 2.0)
    for gains in ((0.1, 0.2, -0.3, 0.6), (0.3, -0.1, -0.2, 0.7), (0.7, 0.1, 0.2, -0.3)):
        for sign in (1, -1):
            pair = base, tuple(2.0 - sign * gain for gain in gains)
            _require_p(
                answer,
                pair,
                "Some patterns have the same mean as yours in exact arithmetic, and were lost to "
                "rounding: 0.1 + 0.2 is not 0.3 here.",
            )


@EXERCISE.stage("verdict")
def _flip_verdict(answer: Any, seed: int) -> None:
    for gains in (*GAINS, (3, 9, 4, 7, 5, 8), (-3, -9, -4, -7, -5)):
        pair = _pair(gains, seed)
        p = _shares(pair)["right"]
        for level in (p, 0.9 * p, 0.05):
            facts = _facts(answer, pair, level)
            got = facts["got"][2]
            finding = "better" if sum(gains) > 0 else "worse"
            expected = finding if p <= level else NOISE
            told = {**facts, "got": got, "expected": expected}
            require(
                got in VERDICTS,
                'The verdict is none of "better", "worse" and "inside the noise".',
                cause="It is spelled otherwise, or a number or a truth value.",
                cure="Return one of the three, spelled like this.",
                **told,
            )
            require(
                got == expected or level != p or finding == "worse",
                "A p of exactly `level` is a finding, too.",
                cause="It was compared with <.",
                cure="Ask for p <= level.",
                **told,
            )
            require(
                got == expected,
                "p, held against `level`, gives another verdict.",
                cause="Better and worse are exchanged, worse is forgotten, or another level was "
                "used.",
                cure="At most `level`: a finding, with the sign of the mean gain. Else: noise.",
                **told,
            )


@EXERCISE.stage("default")
def _flip_default(answer: Any, seed: int) -> None:
    for gains in ((3, 9, 4, 7, 5), (3, 9, 4, 7, 5, 8)):  # p is 0.0625 and 0.03125
        pair = _pair(gains, seed)
        got, expected = answer(*pair)[2], answer(*pair, 0.05)[2]
        require(
            got == expected,
            "Without a third argument, the level is 0.05, and another one was used.",
            cause="The parameter has another default than in the stub.",
            cure="Keep the default of the stub.",
            expected=expected,
            got=got,
            example={"baseline": pair[0], "candidate": pair[1]},
        )
