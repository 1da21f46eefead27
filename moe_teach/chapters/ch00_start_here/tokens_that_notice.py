"""Exercise 0.3: who would notice?."""

from typing import Any

import torch

from moe_teach.chapters.ch00_start_here.route_by_rule import require_list_of_ints
from moe_teach.judging.exercise import Exercise, generator, require

EXERCISE = Exercise(
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


def _compare_notice(
    answer: Any, rows: list[list[int]], expert: int, symptom: str, cause: str, cure: str
) -> None:
    expected = [position for position, chosen in enumerate(rows) if expert in chosen]
    got = answer([list(row) for row in rows], expert)
    example = {"expert_ids": rows, "expert": expert}
    require_list_of_ints(
        got,
        "The entries of the list are no whole numbers.",
        "A token's position says where it stands; a truth value says whether, and a row or a list "
        "of one is not its number.",
        example,
    )
    require(
        got == expected,
        symptom,
        cause=cause,
        cure=cure,
        expected=expected,
        got=got,
        example=example,
    )


@EXERCISE.stage("one choice per token")
def _one_choice(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens in (1, 3, 7):
        rows = _rows(n_tokens, 3, 1, random)
        for expert in sorted({row[0] for row in rows}):
            _compare_notice(
                answer,
                rows,
                expert,
                "These are not the positions of the rows that hold the expert.",
                "Positions are counted from zero, `index` finds only the first of several equal "
                "rows, and a position in the row is none of the token.",
                "Number the rows with `enumerate(expert_ids)`, and keep the number of each row "
                "that holds the expert, in ascending order.",
            )


@EXERCISE.stage("several choices")
def _several_choices(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens, n_experts, top_k in ((2, 3, 2), (5, 5, 3), (5, 4, 4), (11, 7, 2), (9, 9, 6)):
        rows = _rows(n_tokens, n_experts, top_k, random)
        for expert in sorted({chosen for row in rows for chosen in row}):
            _compare_notice(
                answer,
                rows,
                expert,
                "Not all tokens that chose the expert are listed, or others are.",
                "A second or third choice counts too: its gate is smaller, but it is not zero. "
                "And a token is one row, however many choices stand in it.",
                "Ask `expert in row` of each whole row, and list its number once.",
            )


@EXERCISE.stage("ids of two digits")
def _two_digits(answer: Any, seed: int) -> None:
    rows = [[12, 21, 30], [1, 2, 3], [2, 11, 30], *_rows(90, 37, 3, generator(seed))]
    for expert in (1, 2, 12, 21, 36):
        _compare_notice(
            answer,
            rows,
            expert,
            "With experts beyond number 9 and many tokens, the list is another one.",
            "As a text, expert 1 is a part of expert 12; and a set keeps no order.",
            "Compare numbers, not texts, and go through the rows from first to last.",
        )


@EXERCISE.stage("an expert that nobody chose")
def _nobody(answer: Any, seed: int) -> None:
    rows = _rows(5, 3, 2, generator(seed))
    _compare_notice(
        answer,
        rows,
        3,
        "Somebody is listed here, although no row holds the expert.",
        "Something stands in for `nobody`: a -1, a 0, or the nearest expert.",
        "If nobody chose the expert, nobody notices: return the empty list.",
    )
