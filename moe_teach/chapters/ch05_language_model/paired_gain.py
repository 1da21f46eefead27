"""Chapter 05, exercise 5.5: calling a win a win, and noise noise."""

import math
import random
from statistics import mean, pstdev, stdev
from typing import Any

from moe_teach.judging.exercise import Exercise, require

EXERCISE = Exercise(
    id="5.5",
    name="paired_gain",
    title="Is it a win?",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    hints=(
        "Everything is done on the list of differences, seed by seed. The two lists of losses are "
        "not needed after that.",
        "gains = [b - c for b, c in zip(baseline, candidate)]. `statistics.stdev` divides by "
        "n - 1. The uncertainty of a mean shrinks with the root of n.",
        'gain = mean(gains); uncertainty = t * stdev(gains) / math.sqrt(len(gains)); "better" if '
        'gain > uncertainty, "worse" if gain < -uncertainty, else "inside the noise".',
    ),
    explanation="Pairing removes what a seed does to both models, such as an easy order of the "
    "data; what is left is the difference itself. With 3 seeds t is 4.3. That is strict, and has "
    "to be: three runs that agree by chance are not rare.",
)
NOISE = "inside the noise"
VERDICTS = ("better", "worse", NOISE)
SPREAD_IS_OFF = "The gain is right, and its uncertainty is another number."
Pair = tuple[tuple[float, ...], tuple[float, ...]]


def _pairs(seed: int) -> list[Pair]:
    """Small lists first; a wide spread of the seeds and a narrow one of the differences."""
    draw = random.Random(seed)
    made = []
    for n, shift in ((2, 0.3), (3, 0.4), (3, -0.4), (5, 0.0), (7, 0.5)):
        base = tuple(draw.uniform(1.0, 3.0) for _ in range(n))
        other = tuple(b - shift + draw.gauss(0, 0.05) for b in base)
        made.append((base, other))
    return made


def _verdicts(seed: int) -> list[tuple[Pair, float, str]]:
    """Pairs, a t and the verdict: mostly a tenth beside the border, on either side of it."""
    same, half = (2.0, 2.5, 2.25), (1.5, 2.0, 1.75)
    made = [((same, same), 4.303, NOISE), ((same, half), 4.303, "better")]
    made += [((half, same), 4.303, "worse")]
    draw = random.Random(seed)
    for gains in ((0.5, 0.3), (0.1, 0.25, 0.02), (0.3, -0.05, 0.4, 0.2, 0.35)):
        base = tuple(draw.uniform(1.0, 3.0) for _ in gains)
        other = tuple(b - gain for b, gain in zip(base, gains, strict=True))
        border = mean(gains) * math.sqrt(len(gains)) / stdev(gains)
        for pair, finding in (((base, other), "better"), ((other, base), "worse")):
            made += [(pair, 0.9 * border, finding), (pair, 1.1 * border, NOISE)]
    return made


def _facts(answer: Any, pair: Pair, t: float) -> dict[str, Any]:
    given = {"baseline": pair[0], "candidate": pair[1], "t": t}
    return {"got": answer(**given), "example": given}


@EXERCISE.stage("three results")
def _gain_form(answer: Any, seed: int) -> None:
    for pair in _pairs(seed):
        facts = _facts(answer, pair, 4.303)
        got = facts["got"]
        require(
            isinstance(got, tuple | list) and len(got) == 3,
            "These are not three things: the mean gain, its uncertainty, and the verdict.",
            cause="One of them is left out, or they came under names.",
            cure="Return three things, with commas between them: gain, uncertainty, verdict.",
            **facts,
        )
        require(
            all(isinstance(part, float) for part in got[:2]) and isinstance(got[2], str),
            "The first two must be plain floats and the third a word, and they are not.",
            cause="A mean of a tensor is a tensor, an interval is two numbers, or the order is "
            "another.",
            cure="`.item()` or `float(...)` makes a number of a tensor.",
            **facts,
        )


@EXERCISE.stage("mean gain")
def _gain_mean(answer: Any, seed: int) -> None:
    for pair in _pairs(seed):
        facts = _facts(answer, pair, 4.303)
        got, expected = facts["got"][0], mean(b - c for b, c in zip(*pair, strict=True))
        require(
            math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-6)
            or not math.isclose(got, -expected, rel_tol=1e-4, abs_tol=1e-6),
            "The sign is turned round.",
            cause="A gain is positive when the *candidate* has the lower loss.",
            cure="Subtract the candidate from the baseline.",
            expected=expected,
            **{**facts, "got": got},
        )
        require(
            math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-6),
            "This is not the mean of baseline minus candidate, seed by seed.",
            cause="A gain is a difference in nats, not a ratio, and the mean of all of them, not "
            "the sum or the median; and the lists stay in the order of the seeds.",
            cure="[old - new for old, new in zip(baseline, candidate)], then the mean.",
            expected=expected,
            **{**facts, "got": got},
        )


def _spread_slips(pair: Pair, gains: list[float]) -> dict[tuple[str, str], float]:
    """List what the usual slips give for t = 3.7, each under its cause and its cure."""
    n = len(gains)
    spread, root = stdev(gains), math.sqrt(len(gains))
    apart = math.sqrt((stdev(pair[0]) ** 2 + stdev(pair[1]) ** 2) / n)
    return {
        (
            "The standard deviation was divided by n.",
            "For a sample of seeds divide by n - 1 (`statistics.stdev`, or `torch.std` as it "
            "comes).",
        ): 3.7 * pstdev(gains) / root,
        (
            "The root of n is missing.",
            "Divide by it: a mean of n runs is surer than one run.",
        ): 3.7 * spread,
        (
            "The spread was divided by n.",
            "Divide by the *root* of n, not by n.",
        ): 3.7 * spread / n,
        (
            "The factor t is missing.",
            "Multiply by the argument `t`.",
        ): spread / root,
        (
            "The two lists were treated as strangers.",
            "Take the differences first, seed by seed, and then their standard deviation.",
        ): 3.7 * apart,
        (
            "This is the spread of the baseline alone.",
            "What varies in a comparison is the difference: take it first.",
        ): 3.7 * stdev(pair[0]) / root,
        (
            "The variance stands in the place of the standard deviation.",
            "Take its root.",
        ): (3.7 * spread**2 / root),
        (
            "4.303 is written into the formula, and it is the value for three seeds.",
            "Use the argument `t`.",
        ): 4.303 * spread / root,
    }


@EXERCISE.stage("uncertainty")
def _gain_uncertainty(answer: Any, seed: int) -> None:
    two, *others = _pairs(seed)
    alike = ((2.0, 2.5, 2.25), (1.5, 2.0, 1.75))
    for pair in (*others, two, alike):  # last: with two seeds, or equal gains, slips coincide
        facts = _facts(answer, pair, 3.7)
        gains = [b - c for b, c in zip(*pair, strict=True)]
        n, got = len(gains), facts["got"][1]
        expected = 3.7 * stdev(gains) / math.sqrt(n)
        slips = _spread_slips(pair, gains)

        def near(value: float, got: float = got) -> bool:
            return math.isclose(got, value, rel_tol=1e-3, abs_tol=1e-7)

        told = {**facts, "got": got, "expected": expected}
        if near(expected):
            continue
        for (cause, cure), slip in slips.items():
            require(not near(slip), SPREAD_IS_OFF, cause=cause, cure=cure, **told)
        cause = "A factor came in, n is another number, or the spread is that of something else."
        formula = "It is t · s / √n, with s and n of the differences."
        require(False, SPREAD_IS_OFF, cause=cause, cure=formula, **told)


@EXERCISE.stage("verdict")
def _gain_verdict(answer: Any, seed: int) -> None:
    for pair, t, expected in _verdicts(seed):
        facts = _facts(answer, pair, t)
        got = facts["got"][2]
        told = {**facts, "got": got, "expected": expected}
        require(
            got in VERDICTS,
            'The verdict is none of "better", "worse" and "inside the noise".',
            cause="It is spelled otherwise, or a number or a truth value.",
            cure="Return one of the three, spelled like this.",
            **told,
        )
        require(
            got == expected or pair[0] != pair[1],
            "The two lists are equal, and a finding was announced.",
            cause="A mean of 0 is not above an uncertainty of 0.",
            cure="Compare with > and <, not with >= and <=.",
            **told,
        )
        require(
            got == expected or expected != "worse",
            "The candidate is worse by more than the uncertainty, and that is a finding too.",
            cause="Only gains above the uncertainty were looked at.",
            cure="Look at both sides of zero: below minus the uncertainty it is worse.",
            **told,
        )
        require(
            got == expected,
            "The mean gain, held against its uncertainty, gives another verdict.",
            cause="Everything between is noise, even if every seed points the same way; or the two "
            "findings are exchanged.",
            cure="Above the uncertainty it is better, and below minus the uncertainty worse.",
            **told,
        )


@EXERCISE.stage("default")
def _gain_default(answer: Any, seed: int) -> None:
    first, other = (1.0, 2.0, 4.0), (1.0, 1.0, 1.0)
    got, expected = answer(first, other)[1], answer(first, other, 4.303)[1]
    require(
        math.isclose(got, expected, rel_tol=1e-6),
        "Without a third argument, t is 4.303, and another number was used.",
        cause="The parameter has another default than in the stub.",
        cure="Keep the default of the stub.",
        expected=expected,
        got=got,
        example={"baseline": first, "candidate": other},
    )
