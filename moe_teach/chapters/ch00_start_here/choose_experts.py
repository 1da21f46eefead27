"""Exercise 0.5: open task: as few experts as possible."""

import math
import random
from typing import Any

from moe_teach.chapters.ch00_start_here.route_by_rule import require_list_of_ints
from moe_teach.judging.exercise import Exercise, Goal, Words, require

SHARE = 0.8  # of the probability, on average over the tokens of the measure
N_TOKENS, N_EXPERTS = 60, 8
SHARPNESS = (0.5, 1.0, 2.0, 4.0)  # a quarter of the tokens each: from undecided to nearly certain

EXERCISE = Exercise(
    id="0.5",
    name="choose_experts",
    title="Open task: as few experts as possible",
    points=2,
    difficulty=2,
    importance=3,
    minutes=15,
    hints=(
        "Some tokens are certain of one expert, others waver between five. Must all of them ask "
        "the same number of experts?",
        "Give every token its best expert. What remains is one pile of probabilities, of all "
        "tokens together, and only the average has to be reached.",
        "Try a border: a token asks every expert with a probability above it, and its best one in "
        "any case. Lower the border until enough is kept.",
    ),
    explanation="A fixed number of experts asks too many for an easy token and too few for a hard "
    "one. Letting each token ask until it has its share is called top-p routing (Huang et al. "
    "2024, arXiv 2403.07652). One border for all tokens is better still, because a hard token may "
    "keep less where an easy one keeps more. The best of all sorts the probabilities of all tokens "
    "and takes the largest until the average is reached: exchange any of them for one that was "
    "left, and less is kept. It needs all tokens at once, which a model that writes one token "
    "after another does not have.",
    goal=Goal(
        quantity="experts asked for a token",
        unit="",
        baseline=4,
        target=3.2,
        more_is_better=False,
        limit="No rule gets below 2.8 here.",
        cause="Every token asks as many experts as the others, or keeps as much as the others. "
        "Only the average over all tokens is asked for.",
        cure="Let the certain tokens make up for those that waver: compare the probabilities of "
        "all tokens with one border, and lower it until the average is reached.",
    ),
)


def draw_probs(seed: int, n_tokens: int, n_experts: int) -> list[list[float]]:
    """Draw each token's probabilities; tokens differ in how certain they are."""
    draw = random.Random(f"0.5 {seed} {n_tokens} {n_experts}")
    rows = []
    for token in range(n_tokens):
        sharpness = SHARPNESS[token % len(SHARPNESS)]
        weights = [math.exp(sharpness * draw.gauss(0.0, 1.0)) for _ in range(n_experts)]
        rows.append([weight / sum(weights) for weight in weights])
    draw.shuffle(rows)
    return rows


def _asked(answer: Any, probs: list[list[float]], share: float) -> list[list[int]]:
    """Call the answer and turn away what is not one list of different experts for each token."""
    got = answer([list(row) for row in probs], share)
    example = {"probs": probs, "share": share}
    require(
        isinstance(got, list)
        and len(got) == len(probs)
        and not any(isinstance(chosen, int | float) for chosen in got),
        f"This is not a list of {len(probs)} lists, one for each token.",
        cause="Tokens without a list of their own are missing, or the lists were joined.",
        cure="Append one list of experts for each row of `probs`.",
        expected=Words(f"a list of {len(probs)} lists"),
        got=got,
        example=example,
    )
    for chosen in got:
        require_list_of_ints(
            chosen,
            "The experts of a token are no whole numbers.",
            "Probabilities, or truth values, stand where the positions of the experts belong.",
            example,
        )
        require(
            len(chosen) > 0,
            "A token asks nobody at all.",
            cause="Its best expert lies below the border, or the average was reached without it.",
            cure="Give every token its most probable expert first.",
            got=got,
            example=example,
        )
        require(
            len(set(chosen)) == len(chosen) and set(chosen) <= set(range(len(probs[0]))),
            "An expert is asked twice by one token, or does not exist.",
            cause="The best expert was added again, or ids were counted from one.",
            cure=f"Each id stands once in a list, and lies between 0 and {len(probs[0]) - 1}.",
            got=got,
            example=example,
        )
    return got


def _require_enough(answer: Any, probs: list[list[float]], share: float) -> list[list[int]]:
    asked = _asked(answer, probs, share)
    kept = sum(row[e] for row, chosen in zip(probs, asked, strict=True) for e in chosen)
    require(
        kept / len(probs) >= share - 1e-9,
        "Too little of the probability is kept: on average over the tokens it must be `share`.",
        cause="The sum stops one expert too early, or the number of experts is fixed.",
        cure="Add up what is kept, divide by the number of tokens, and go on until it is `share`.",
        expected=Words(f"at least {share}"),
        got=kept / len(probs),
        example={"probs": probs, "share": share},
    )
    return asked


@EXERCISE.stage("one list for each token")
def _lists(answer: Any, seed: int) -> None:
    for n_tokens, n_experts in ((1, 1), (1, 3), (5, 2), (3, 7)):
        _asked(answer, draw_probs(seed, n_tokens, n_experts), 0.5)
    _asked(answer, [[0.1] * 10] * 3, 0.05)


@EXERCISE.stage("enough is kept")
def _enough(answer: Any, seed: int) -> None:
    for n_tokens, n_experts in ((1, 1), (1, 4), (7, 5), (13, 8)):
        for share in (0.1, 0.75, 0.99, 1.0):
            _require_enough(answer, draw_probs(seed, n_tokens, n_experts), share)


@EXERCISE.goal.measure  # type: ignore[union-attr]
def _experts_asked(answer: Any, seed: int) -> float:
    asked = _require_enough(answer, draw_probs(seed, N_TOKENS, N_EXPERTS), SHARE)
    return sum(map(len, asked)) / N_TOKENS
