"""Chapter 13, exercise 13.2: draw rows without replacement, with odds that their scores give."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch13_data_selection.drawing import (
    LIKELY,
    SLIPS,
    counted,
    probabilities,
    slipped,
    surprise,
)
from moe_teach.judging.elsewhere import repeated
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="13.2",
    name="draw_rows",
    title="Drawn, not sorted",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    limit=20,
    changes_inputs=True,  # a generator moves on
    hints=(
        "There is noise that turns a sort into a draw: add an independent number of Gumbel's "
        "distribution to every log-odds, and the largest of the sums is row i with just its odds; "
        "the second largest is drawn from the rest, and so on.",
        "-log(-log(u)) is such a number, u even between 0 and 1; and -log(u) is exponential, which "
        "torch draws itself: `torch.empty(n).exponential_(generator=drawn)`. Treat an infinite "
        "scale apart, since infinity times 0 is not a number: there the noise only decides ties.",
        "noise = -torch.empty(len(scores), dtype=torch.float64).exponential_(generator=drawn).log()"
        "; if scale is infinite: order = noise.argsort(); order = order[scores[order].argsort("
        "descending=True, stable=True)]; return order[:n_chosen]; else: return (scale * "
        "scores.double() + noise).topk(n_chosen).indices.",
    ),
    explanation="A sort takes the same few rows whatever the others are like, and takes a score "
    "for more than it is: an estimate from one batch. A draw leaves every row a chance. In "
    "log-odds nothing has to be normalised, so that scores of a thousand overflow nowhere and "
    "rows of tiny odds keep their ratio to one another; a softmax gives both of them 0. At an "
    "infinite scale noise still has its use: where learner and reference are one model all "
    "scores are equal, and a bare `topk` would take the first rows of the batch in every step.",
)


def _require_untouched(scores: Tensor, given: dict[str, Any]) -> None:
    require(
        torch.equal(scores, given["scores"]),
        "After the call the scores are others than before, and the caller still needs them.",
        cause="`scores[i] = ...`, `scores *= scale` and methods that end in `_` write into the "
        "tensor that was given.",
        cure="Work on a new tensor: `scale * scores`, or `scores.clone()`.",
        got=scores,
        example=given,
    )


def _call(answer: Any, scores: Tensor, n_chosen: int, scale: float, drawn: Any) -> Tensor:
    given = {"scores": scores, "n_chosen": n_chosen, "scale": scale}
    kept = scores.clone()
    got = answer(**given, drawn=drawn)
    given["scores"] = kept
    require_tensor(got, given)
    _require_untouched(scores, given)
    is_mask = got.dtype == torch.bool
    require(
        got.dtype == torch.int64,
        "The answer must be the places of rows, in int64.",
        cause="A mask says who is in, and not in which places they are."
        if is_mask
        else "`topk` and `sort` give values first and places second.",
        cure="`.nonzero()[:, 0]`." if is_mask else "`.indices`.",
        got=got,
        example=given,
    )
    require(
        got.shape == (n_chosen,),
        f"{n_chosen} rows were to be chosen: the shape must be ({n_chosen},).",
        got=got,
        example=given,
    )
    require(
        bool(((got >= 0) & (got < len(scores))).all()) and len(got.unique()) == n_chosen,
        f"These are not {n_chosen} different rows of {len(scores)}.",
        cause="It was drawn with replacement: who is drawn must leave.",
        cure="`replacement=False`, or the largest of scaled scores plus noise, which are all "
        "different rows.",
        got=got,
        example=given,
    )
    return got


@EXERCISE.stage("so many rows")
def _draw_form(answer: Any, seed: int) -> None:
    for n, n_chosen in ((1, 1), (2, 1), (7, 7), (17, 5), (80, 16)):
        for scale in (0.0, 1.0, 3.5):  # an infinite one has a stage of its own
            random = generator(seed + n)
            _call(answer, torch.randn(n, generator=random), n_chosen, scale, random)


@EXERCISE.stage("the generator")
def _draw_repeats(answer: Any, seed: int) -> None:
    scores = torch.randn(60, generator=generator(seed)) / 100  # noise decides nearly alone
    random = generator(seed)
    state = random.get_state()

    def twice(common: int) -> tuple[list[list[int]], list[Tensor]]:
        rows, states = [], [state]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(common)
            random.set_state(state)
            for _ in range(2):
                rows.append(sorted(_call(answer, scores, 4, 0.5, random).tolist()))
                states.append(random.get_state())
        return rows, states

    (one, states), (other, _) = twice(1), twice(2)
    require(
        one == other,
        "A generator of the same seed draws other rows.",
        cause="Torch's common generator was used, which everybody draws from.",
        cure="`generator=drawn` in every call that draws.",
        got=Words(f"{one[0]} and {other[0]}"),
    )
    require(
        one[0] != one[1],
        "Two draws from one generator, one after the other, give the same rows.",
        cause=_stood_still(states),
        cure="Draw one number for each row from `drawn`, add it to scale * score, and leave the "
        "generator's seed alone.",
        got=Words(f"twice {one[0]}"),
    )


def _stood_still(states: list[Tensor]) -> str:
    start, after_one, after_two = states
    if torch.equal(start, after_one):
        return "Nothing was drawn from it."
    if torch.equal(after_one, after_two):
        return "Each call puts it back to where it began."
    return "It moves on, but what it gives decides about no row."


_ELSE = Why(
    "The first row comes with odds exp(scale * score), the second with the same odds among those "
    "that are left.",
    "The largest of scale * score + noise, with Gumbel's noise -log(-log(u)).",
)


def _demand_odds(
    answer: Any,
    scores: Tensor,
    scale: float,
    seed: int,
    said: str,
    otherwise: Why = _ELSE,
    n_draws: int = 200,
    known: Iterable[str] = (),
) -> None:
    """Compare how often each pair of rows is drawn with its probability."""
    pairs = repeated(answer, n_draws, scores, 2, scale, generator(seed))
    counts, expected = counted(torch.stack(pairs), len(scores)), probabilities(scores, scale)
    if surprise(counts, expected) < LIKELY:
        return
    slips = {name: surprise(counts, slipped(scores, scale, name)) for name in known}
    name = min(slips, key=slips.get, default="")
    if slips.get(name, LIKELY) < LIKELY:
        otherwise = SLIPS[name]
    drawn = {"scores": scores, "n_chosen": 2, "scale": scale, "draws": n_draws}
    shares = Words(_shares(expected)), Words(_shares(counts / n_draws))
    require(False, said, **otherwise._asdict(), expected=shares[0], got=shares[1], example=drawn)


def _shares(of_pairs: Tensor) -> str:
    n = len(of_pairs)
    return ", ".join(
        f"rows {i} and {j}: {of_pairs[i, j]:.1%}" for i in range(n) for j in range(i + 1, n)
    )


@EXERCISE.stage("the odds")
def _draw_odds(answer: Any, seed: int) -> None:
    scores = torch.tensor([1.2, 0.8, 0.4, 0.0, -0.4, -0.8])
    scores = scores[torch.randperm(6, generator=generator(seed))]
    said = "Over many draws the pairs of rows do not come as often as their odds say."
    _demand_odds(answer, scores, 2.0, seed, said, n_draws=1500, known=SLIPS)


@EXERCISE.stage("scale 0")
def _draw_even(answer: Any, seed: int) -> None:
    scores = torch.tensor([700.0, 3.0, -2.0, 0.5])
    said = "At scale 0 all rows have equal odds, and some come more often than others."
    why = Why("exp(0 * score) is 1 for each row, however high its score: noise alone decides.",
              "No case of its own: scale * score + noise is right at 0, too.")  # fmt: skip
    _demand_odds(answer, scores, 0.0, seed, said, why)


@EXERCISE.stage("large scores")
def _draw_large(answer: Any, seed: int) -> None:
    said = "With scores of a thousand, pairs of rows do not come as often as their odds say."
    cure = "Stay with the log-odds, scale * score, to the end."
    why = Why("exp(1000) is infinite, and exp(-1000) is 0: odds that nobody can compare.", cure)
    cut = Why("Far from 0 the scores were cut off, and rows that differ became equal.", cure)
    scores = torch.tensor([1000.0, 0.0, -0.5, 0.25])[torch.randperm(4, generator=generator(seed))]
    near = scores[scores < 900]
    for apart, otherwise in ((scores, why), (-1000 - near, cut), (1000 + near, cut)):
        _call(answer, apart, len(apart), 2.0, generator(seed))
        _demand_odds(answer, apart, 2.0, seed, said, otherwise)


@EXERCISE.stage("an infinite scale")
def _draw_highest(answer: Any, seed: int) -> None:
    for n, n_chosen in ((1, 1), (7, 7)):
        random = generator(seed + n)
        _call(answer, torch.randn(n, generator=random), n_chosen, math.inf, random)
    for step in (1.0, 2.0**-40):  # how far the scores are apart
        random = generator(seed)
        scores = step * (torch.randperm(23, generator=random) - 11.0)
        got = _call(answer, scores, 6, math.inf, random)
        require(
            set(got.tolist()) == set(scores.topk(6).indices.tolist()),
            "At an infinite scale the highest scores are chosen, and these are others.",
            cause="Infinity times 0 is not a number, and infinity times anything positive is as "
            "large as any other."
            if step == 1
            else "A large number in its place is not infinite: scores that are near each other "
            "are still drawn, not sorted.",
            cure="Treat the infinite scale apart: sort by the score.",
            expected=scores.topk(6).values,
            got=scores[got],
            example={"scores": scores, "n_chosen": 6, "scale": math.inf},
        )
    equal = torch.tensor([2.0, 2.0, 2.0, 2.0, 1.0])
    said = "At an infinite scale rows of equal score must have equal odds."
    why = Why("A sort leaves equal rows in some order of its own, the same in every step; so it is "
              "where a huge scale swallows the noise.",
              "Let the noise decide: first order the rows by noise, then sort that order by the "
              "score with `stable=True`.")  # fmt: skip
    _demand_odds(answer, equal, math.inf, seed, said, why)
