"""Chapter 00, exercises 0.2 and 0.3: what is active, and who depends on an expert."""

from typing import Any

import torch

from moe_teach.course.checks._ch00_rules import require_list_of_ints
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require

ACTIVE_FRACTION = Exercise(
    id="0.2",
    name="active_fraction",
    title="How much of a model is active?",
    difficulty=1,
    importance=5,
    minutes=5,
    hints=(
        "Count two things: what is stored, and what one token touches. Then divide.",
        "Both counts contain the shared parameters. They differ in how many experts they count: "
        "all of them, or the chosen ones.",
        "`active = n_shared + top_k * n_per_expert`, and `total` is the same with `n_experts` "
        "instead of `top_k`. Return `active / total`.",
    ),
    explanation="Shared parameters stand above and below the line. That is why 2 of 16 experts "
    "active does not mean one-eighth of the cost: chapter 01 measures how much is lost to what "
    "is shared.",
)


def _fraction(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return (n_shared + top_k * n_per_expert) / (n_shared + n_experts * n_per_expert)


def _compare_fraction(answer: Any, sizes: tuple[int, int, int, int], message: str) -> None:
    names = ("n_shared", "n_per_expert", "n_experts", "top_k")
    got, expected = answer(*sizes), _fraction(*sizes)
    require(
        close(got, expected),
        message,
        expected=expected,
        got=got,
        example=dict(zip(names, sizes, strict=True)),
    )


@ACTIVE_FRACTION.stage("a number")
def _is_a_number(answer: Any, _seed: int) -> None:
    got = answer(12, 16, 3, 2)
    require(
        isinstance(got, float),
        "The answer is one plain float between 0 and 1. Divide with `/` (`//` drops the fraction); "
        "a text or a tensor will not do.",
        expected=Words("a float"),
        got=got,
        example={"n_shared": 12, "n_per_expert": 16, "n_experts": 3, "top_k": 2},
    )


@ACTIVE_FRACTION.stage("nothing shared")
def _nothing_shared(answer: Any, seed: int) -> None:
    for n_experts in (1, 5, 13):
        size = int(torch.randint(1, 1000, (), generator=generator(seed)))
        top_k = int(torch.randint(1, n_experts + 1, (), generator=generator(seed)))
        _compare_fraction(
            answer,
            (0, size, n_experts, top_k),
            "With nothing shared the fraction is top_k / n_experts, whatever the experts' size. "
            "Which of the two counts is on top, and does the division come last (brackets)?",
        )


@ACTIVE_FRACTION.stage("dense")
def _dense_is_one(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_experts in (1, 3, 7):
        shared, size = torch.randint(1, 1000, (2,), generator=random).tolist()
        _compare_fraction(
            answer,
            (shared, size, n_experts, n_experts),
            "If every expert is chosen, all parameters are active and the fraction is 1. "
            "Are the shared parameters counted in both numbers, and is each sum in brackets?",
        )


@ACTIVE_FRACTION.stage("values")
def _fraction_values(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_experts, top_k in ((2, 1), (5, 2), (16, 2), (257, 8)):
        shared, size = torch.randint(1, 10**6, (2,), generator=random).tolist()
        _compare_fraction(
            answer,
            (shared, size, n_experts, top_k),
            "The shared parameters work for every token, so they are part of the active number "
            "as well as of the total.",
        )


WHO_NOTICES = Exercise(
    id="0.3",
    name="tokens_that_notice",
    title="Who would notice?",
    difficulty=1,
    importance=3,
    minutes=5,
    hints=(
        "A token depends on an expert if and only if it chose it. No numbers need to be computed.",
        "Walk through the rows with their positions (`enumerate`) and keep the positions whose row "
        "contains the expert.",
        "`[position for position, chosen in enumerate(expert_ids) if ...]`, where the condition "
        "asks whether `expert` is `in` the row.",
    ),
    explanation="This is the question behind every sparse computation: which rows go to expert e? "
    "Chapter 04 answers it for all experts at once with a single sort, because a list per "
    "expert would be too slow.",
)


def _rows(n_tokens: int, n_experts: int, top_k: int, random: torch.Generator) -> list[list[int]]:
    draws = torch.rand(n_tokens, n_experts, generator=random)
    return draws.argsort(dim=-1)[:, :top_k].tolist()


def _compare_notice(answer: Any, rows: list[list[int]], expert: int, message: str) -> None:
    expected = [position for position, chosen in enumerate(rows) if expert in chosen]
    got = answer([list(row) for row in rows], expert)
    example = {"expert_ids": rows, "expert": expert}
    require_list_of_ints(
        got,
        "The list must hold token positions, which are whole numbers: where the expert stands, "
        "not whether.",
        example,
    )
    require(got == expected, message, expected=expected, got=got, example=example)


@WHO_NOTICES.stage("one choice per token")
def _one_choice(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens in (1, 3, 7):
        rows = _rows(n_tokens, 3, 1, random)
        for expert in sorted({row[0] for row in rows}):
            _compare_notice(
                answer,
                rows,
                expert,
                "With one choice per token, return the positions (counted from zero) of the rows "
                "that hold the expert.",
            )


@WHO_NOTICES.stage("several choices")
def _several_choices(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens, n_experts, top_k in ((2, 3, 2), (5, 5, 3), (11, 7, 2)):
        rows = _rows(n_tokens, n_experts, top_k, random)
        for expert in sorted({chosen for row in rows for chosen in row}):
            _compare_notice(
                answer,
                rows,
                expert,
                "A second or third choice counts too: its gate is smaller, but it is not zero. "
                "Look at the whole row, and list each token once.",
            )


@WHO_NOTICES.stage("an expert that nobody chose")
def _nobody(answer: Any, seed: int) -> None:
    rows = _rows(5, 3, 2, generator(seed))
    _compare_notice(
        answer,
        rows,
        3,
        "If nobody chose the expert, nobody notices: the answer is the empty list.",
    )
