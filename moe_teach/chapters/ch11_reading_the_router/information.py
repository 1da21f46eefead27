"""Chapter 11, exercise 11.1: how much an expert tells beyond what one knows already."""

from typing import Any

import torch

from moe_teach.chapters.ch11_reading_the_router import bits
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="11.1",
    name="information",
    title="What an expert tells beyond the token",
    points=2,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "One table of counts with three axes, given x expert x label, holds everything. Where "
        "nothing is given, its first axis has one entry.",
        "Repeat labels and `given` K times, so that every choice is a row. Divide the table by its "
        "sum. Sum it over one axis, or two, with keepdim=True, for the marginals; look only at "
        "cells that are not empty.",
        "table.index_put_((g, e, y), ones, accumulate=True); p = table / table.sum(); ratio = p * "
        "p.sum((1, 2), keepdim=True) / (p.sum(2, keepdim=True) * p.sum(1, keepdim=True)); the sum "
        "of p * log2(ratio) over the cells with p > 0.",
    ),
    explanation="I(E; Y | G) is the mean over g of the information inside the group g, each group "
    "with its weight p(g). With few tokens in a group even a router that knows nothing of Y comes "
    "out above 0, because counts are never exactly even: a group of one token gives 0, one of two "
    "can give a whole bit. So this number is worth nothing without its null (11.2). The library's "
    "version is `conditional_information` in `moe_teach.analysis.specialisation.information`.",
)

_SLIPS = {
    "nats": Why("That is in nats.", "The logarithm to the base 2: `log2`."),
    "base 10": Why("That is the logarithm to the base 10.", "The one to the base 2: `log2`."),
    "sign": Why(
        "The sign is wrong: information is never below 0.",
        "p(e, y) over p(e) p(y), and not the other way up.",
    ),
    "mean": Why(
        "The logarithms were averaged over cells, as if all cells were equally likely.",
        "Weigh each logarithm by the share of its cell.",
    ),
    "first choice": Why(
        "Only the first choice of each token was counted.",
        "All K choices of a token are rows, each of weight 1 / K.",
    ),
    "choices": Why(
        "The shares add up to K: counts of choices were divided by the number of tokens.",
        "Divide the table by its own sum.",
    ),
    "over K": Why(
        "That is the number divided by K: shares of choices were divided by K once more.",
        "Divide the table by its own sum, and by nothing else.",
    ),
    "in blocks": Why(
        "Choices stand beside the labels of other tokens: `flatten()` puts the K choices of a "
        "token side by side, and `repeat` does not do that with labels.",
        "labels.repeat_interleave(K), and the same with `given`.",
    ),
    "sets": Why(
        "The K experts of a token were taken as one choice of a set.",
        "Each of the K choices is a row of its own.",
    ),
    "smoothed": Why(
        "1 was added to each cell, so that cells nobody saw count as well.",
        "Leave empty cells out of the sum instead.",
    ),
}
_SLIPS_GIVEN = {
    "nothing given": Why(
        "What is given was not used: this is what the expert tells to somebody who knows nothing.",
        "Each value of `given` is a table of its own.",
    ),
    "without p(g)": Why("p(g) is missing above the line.", "p(g, e, y) p(g) over p(g, e) p(g, y)."),
    "unweighted": Why(
        "Every value of `given` counts the same here, the rare ones too.",
        "Weigh a group by its share of the tokens.",
    ),
    "swapped": Why(
        "That is what the expert tells of `given` to somebody who knows the label.",
        "The label is asked for, and `given` is known.",
    ),
    "given alone": Why(
        "That is what `given` tells of the label. The expert is not in it.",
        "The expert is asked, inside each group of the same `given`.",
    ),
    "difference": Why(
        "That is what the expert tells less what `given` tells, as if they told different things.",
        "Inside each group of the same `given`, what does the expert tell?",
    ),
    "both": Why(
        "That is what expert and `given` tell together, to somebody who knows neither.",
        "Inside each group of the same `given`, what does the expert add?",
    ),
}
_UNKNOWN = Why(
    "It is none of the mistakes that are known here. Most often a marginal is summed over another "
    "axis, or rows are paired wrongly.",
    "p(g, e) sums over labels, p(g, y) over experts, p(g) over both. Write the table of the "
    "smallest failing input down and compare.",
)
_NEAR = 0.01


def _demand(answer: Any, said: str, *columns: Any, otherwise: Why | None = None) -> None:
    got = answer(*columns)
    expected = bits.information(*columns)
    names = ("expert_ids", "labels", "given")
    example = dict(zip(names, columns, strict=False))
    is_number = isinstance(got, float | int) or (is_tensor(got) and got.numel() == 1)
    require(
        is_number and not isinstance(got, bool),
        "One number is asked for, in bits.",
        cause="A table or a tuple came back.",
        cure="Sum over all cells, and end in `.item()`.",
        got=got,
        example=example,
    )
    is_right = abs(float(got) - expected) < 1e-4
    why = Why() if is_right else otherwise or _slip(float(got), expected, columns)
    require(is_right, said, **why._asdict(), expected=expected, got=float(got), example=example)


def _slip(got: float, expected: float, columns: tuple[Any, ...]) -> Why:
    """Name the known mistake that gives `got` here, if there is one."""
    if got != got:
        return Why("0 times the logarithm of 0 is NaN.", "Leave empty cells out before `log2`.")
    known = _SLIPS | (_SLIPS_GIVEN if len(columns) == 3 else {})
    for slip, why in known.items():
        if abs(got - bits.information(*columns, slip=slip)) < 1e-4:
            return why
    if abs(got - expected) < _NEAR:
        return Why(
            "That is near: shares in a narrow dtype, or a small number added to them for the sake "
            "of the logarithm.",
            "Count and divide in float64, and leave empty cells out instead of adding to them.",
        )
    return _UNKNOWN


@EXERCISE.stage("by hand")
def _bits_by_hand(answer: Any, seed: int) -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    told = torch.tensor([[3], [3], [0], [0], [0], [0]])
    _demand(answer, "The expert tells the whole label here.", told, labels)
    _demand(answer, "The expert is the same for all here: it tells nothing.", 0 * told, labels)


@EXERCISE.stage("nothing given")
def _bits_plain(answer: Any, seed: int) -> None:
    drawn = some_routes(seed, 31, top_k=1)
    _demand(
        answer, "With one expert a token it is not this number.", drawn.expert_ids, drawn.domains
    )
    drawn = some_routes(seed, 29, top_k=3)
    said = "With three experts a token it is not this number."
    _demand(answer, said, drawn.expert_ids, drawn.domains)


@EXERCISE.stage("given the token")
def _bits_given(answer: Any, seed: int) -> None:
    for top_k in (1, 2):
        drawn = some_routes(seed, 37, top_k=top_k)
        _demand(
            answer,
            "To somebody who knows the token, it is not this number.",
            drawn.expert_ids,
            drawn.domains,
            drawn.tokens,
        )


@EXERCISE.stage("edges")
def _bits_edges(answer: Any, seed: int) -> None:
    one = torch.tensor([4])
    said = "There is one token only, of whose label nothing is unknown."
    _demand(answer, said, torch.tensor([[2, 0]]), one, one)
    drawn = some_routes(seed, 23)
    experts, domains, tokens = drawn.expert_ids, drawn.domains, drawn.tokens
    said = "No two tokens have the same `given`: nothing is left to tell."
    _demand(answer, said, experts, domains, torch.arange(23))
    _demand(answer, "The label is given: nothing is left to tell.", experts, domains, domains)
    alike = Why(
        "One group is left, and all tokens are in it.",
        "No case of its own: with one group the formula is the one for nothing given.",
    )
    said = "The same is given for all tokens, which is as good as nothing."
    _demand(answer, said, experts, domains, torch.zeros(23, dtype=torch.int64), otherwise=alike)
    gaps = Why(
        "There are numbers that no token has: not all from 0 on are there.",
        "Loop over `given.unique()`, or make each axis as long as its highest number + 1.",
    )
    said = "The numbers of labels and of `given` have gaps."
    _demand(answer, said, experts, 3 * domains + 2, 5 * tokens + 1, otherwise=gaps)


@EXERCISE.stage("narrow integers")
def _bits_narrow(answer: Any, seed: int) -> None:
    drawn = some_routes(seed, 61, n_experts=11, n_ids=37)
    columns = (drawn.expert_ids, drawn.domains, drawn.tokens)
    overflow = Why(
        "A number like given * n_experts + expert does not fit into int8, which ends at 127.",
        "Take `.long()` of all columns first.",
    )
    said = "All columns are of int8 here, and it is another number."
    _demand(answer, said, *(column.to(torch.int8) for column in columns), otherwise=overflow)


@EXERCISE.stage("many tokens")
def _bits_many(answer: Any, seed: int) -> None:
    drawn = some_routes(seed, 4099, n_experts=16, n_ids=101, n_domains=4)
    columns = (drawn.expert_ids.int(), drawn.domains.int(), drawn.tokens.int())
    expected, got = bits.information(*columns), float(answer(*columns))
    require(
        abs(got - expected) < 1e-4,
        "With 4,099 tokens of 101 ids it is another number.",
        cause="Counts in a narrow dtype stop counting: float16 at 2,048, int8 at 127.",
        cure="Count in float64 or int64.",
        expected=Words(f"{expected:.5f}"),
        got=Words(f"{got:.5f}"),
    )
