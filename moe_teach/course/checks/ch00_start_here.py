"""Chapter 00: three small exercises to meet the checks, and the lesson's questions."""

from typing import Any

import torch

from moe_teach.course.exercise import Exercise, Question, close, generator, require

_WORDS = ("task", "a", "Router", "mixture", "x", "Ünder")
_MARKS = (",", ".", "...", "?!", "-", "(")
_MIXED = ("don't", "4th", "top-2", "v2", "3.14", "x=1")


def _pick(pool: tuple[str, ...], count: int, random: torch.Generator) -> list[str]:
    return [pool[i] for i in torch.randint(len(pool), (count,), generator=random).tolist()]


def _numbers(count: int, random: torch.Generator) -> list[str]:
    return [str(i) for i in torch.randint(3000, (count,), generator=random).tolist()]


def _is_list_of_ints(value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is int for entry in value)


ROUTE_BY_RULE = Exercise(
    id="0.1",
    name="route_by_rule",
    title="A router made of rules",
    difficulty=1,
    importance=3,
    minutes=5,
    hints=(
        "Three questions in the right order decide every token. Which of them is the easiest to "
        "ask of a Python string?",
        "Go through the tokens. If `token.isdigit()`, it is 0. Otherwise look at the single "
        "characters: if none of them is a letter or a digit, it is 1. What is left is 2.",
        "`any(letter.isalnum() for letter in token)` is true for words and mixed tokens and false "
        "for punctuation. Build the list with one expression per token: "
        "`0 if ... else 2 if any(...) else 1`.",
    ),
    explanation="The order matters: a number passes `any(... isalnum ...)` as well, so it has to "
    "be asked for first. `token.isalnum()` would not do for the second question, because it asks "
    "all characters at once and `don't` has an apostrophe.",
)


@ROUTE_BY_RULE.stage("one expert per token")
def _one_expert_per_token(answer: Any, seed: int) -> None:
    random = generator(seed)
    for count in (1, 3, 7):
        tokens = _pick(_WORDS + _MARKS, count, random)
        got = answer(list(tokens))
        require(
            _is_list_of_ints(got),
            "The answer must be a list of whole numbers: the ids of experts, not their names.",
            got=got,
            example={"tokens": tokens},
        )
        require(
            len(got) == count,
            "There must be exactly one expert id per token, also where tokens repeat.",
            expected=count,
            got=len(got),
            example={"tokens": tokens},
        )
        require(
            set(got) <= {0, 1, 2},
            "Expert ids count from zero, so three experts are 0, 1 and 2.",
            got=got,
            example={"tokens": tokens},
        )


def _compare(answer: Any, tokens: list[str], expert: int, message: str) -> None:
    got = answer(list(tokens))
    require(
        got == [expert] * len(tokens),
        message,
        expected=[expert] * len(tokens),
        got=got,
        example={"tokens": tokens},
    )


@ROUTE_BY_RULE.stage("numbers")
def _numbers_go_to_zero(answer: Any, seed: int) -> None:
    for count in (1, 5):
        _compare(
            answer,
            _numbers(count, generator(seed)),
            0,
            "Tokens made of digits only belong to expert 0. Ask for numbers before anything else.",
        )


@ROUTE_BY_RULE.stage("words")
def _words_go_to_two(answer: Any, seed: int) -> None:
    for count in (1, 5):
        _compare(
            answer,
            _pick(_WORDS, count, generator(seed)),
            2,
            "Plain words belong to expert 2, whatever their first letter or their length.",
        )


@ROUTE_BY_RULE.stage("punctuation")
def _marks_go_to_one(answer: Any, seed: int) -> None:
    for tokens in ([","], ["..."], _pick(_MARKS, 5, generator(seed))):
        _compare(
            answer,
            tokens,
            1,
            "Tokens without any letter or digit are punctuation and belong to expert 1, also "
            "when they have several characters.",
        )


@ROUTE_BY_RULE.stage("mixed tokens")
def _mixed_go_to_two(answer: Any, seed: int) -> None:
    # Each alone and in a fixed order first, so that every seed meets every kind of mixture.
    for tokens in (*([token] for token in _MIXED), _pick(_MIXED, 5, generator(seed))):
        _compare(
            answer,
            tokens,
            2,
            "A token that mixes letters, digits and signs belongs to expert 2. Look at all "
            "characters of the token: one digit does not make a number, and one sign does not "
            "make punctuation.",
        )


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
        "The answer is one float between 0 and 1. Divide with `/`, and do not round or format.",
        expected="a float",
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
            "Which of the two counts is on top?",
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
            "Are the shared parameters counted in both the active and the total number?",
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
    require(
        _is_list_of_ints(got),
        "The answer must be a list of token positions, which are whole numbers.",
        got=got,
        example=example,
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


QUESTIONS = (
    Question(
        id="0.q1",
        prompt="How many of the twelve tokens notice when the content expert is destroyed?",
        answer=11,
        because="Every token except one has the content expert among its two choices, often with "
        "a small gate. A gate need not be large for its expert to matter.",
        hints=(
            "A token notices if the expert is its first or its second choice.",
            "Count the discs in the row of the content expert in the picture further down.",
            "`(routing.expert_ids == 2).any(dim=-1).sum()` counts them for you.",
        ),
    ),
    Question(
        id="0.q2",
        prompt="A model stores 60 parameters and uses 44 for one token. What must fit in memory?",
        choices={
            "a": "44 parameters, because the others are never called",
            "b": "60 parameters, because another token may need any of them",
            "c": "16 parameters, one expert at a time",
        },
        answer="b",
        because="The router decides token by token, so every expert has to be ready. Sparse models "
        "save work, not memory.",
        replies={
            "a": "True for one token. But which experts rest changes from token to token: think of "
            "the whole sentence.",
            "c": "That would mean loading an expert again and again. It can be done (chapter 14), "
            "but it must then be read from somewhere.",
        },
        hints=("How many different experts does the whole sentence use?",),
    ),
    Question(
        id="0.q3",
        prompt="In this chapter, who decided that `1991` goes to the numbers expert?",
        choices={
            "a": "the expert: it is good at numbers",
            "b": "the training: experts specialise by themselves",
            "c": "the router: its row for numbers weighs one feature highly",
        },
        answer="c",
        because="Experts never choose. In a trained model the router's rows are learned, and what "
        "they come to mean has to be measured.",
        replies={
            "a": "We could exchange the matrices of two experts and `1991` would go to the same "
            "place: nobody asks the expert.",
            "b": "Nothing was trained here. We wrote every number by hand.",
        },
        hints=("Which matrix is multiplied with the features before anything is chosen?",),
    ),
)
