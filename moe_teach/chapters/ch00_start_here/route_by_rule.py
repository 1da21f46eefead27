"""Chapter 00, exercise 0.1: a router made of rules."""

from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, generator, require

_WORDS = ("task", "a", "Router", "mixture", "x", "Ünder")
_MARKS = (",", ".", "...", "?!", "-", "(")
_MIXED = ("don't", "4th", "top-2", "v2", "3.14", "x=1")


def require_list_of_ints(got: Any, what: str, example: dict[str, Any]) -> None:
    """Reject what is not a list of whole numbers (no booleans, no numpy scalars)."""
    require(
        isinstance(got, list),
        f"Return a plain Python list, [0, 2, ...]; this is of type {type(got).__name__}. "
        "`.tolist()` makes a list of a tensor or an array, `list(...)` of a set; a single number "
        "still needs its [ ].",
        got=got,
        example=example,
    )
    require(all(type(entry) is int for entry in got), what, got=got, example=example)


def _pick(pool: tuple[str, ...], count: int, random: torch.Generator) -> list[str]:
    return [pool[i] for i in torch.randint(len(pool), (count,), generator=random).tolist()]


def _numbers(count: int, random: torch.Generator) -> list[str]:
    return [str(i) for i in torch.randint(3000, (count,), generator=random).tolist()]


EXERCISE = Exercise(
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


@EXERCISE.stage("one expert per token")
def _one_expert_per_token(answer: Any, seed: int) -> None:
    random = generator(seed)
    for count in (1, 3, 7):
        tokens = _pick(_WORDS + _MARKS, count, random)
        got = answer(list(tokens))
        require_list_of_ints(
            got,
            "The list must hold whole numbers: the ids of experts, not their names or texts.",
            {"tokens": tokens},
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


@EXERCISE.stage("numbers")
def _numbers_go_to_zero(answer: Any, seed: int) -> None:
    for count in (1, 5):
        _compare(
            answer,
            _numbers(count, generator(seed)),
            0,
            "Tokens made of digits only belong to expert 0. Ask for numbers before anything else.",
        )


@EXERCISE.stage("words")
def _words_go_to_two(answer: Any, seed: int) -> None:
    for count in (1, 5):
        _compare(
            answer,
            _pick(_WORDS, count, generator(seed)),
            2,
            "Plain words belong to expert 2, whatever their first letter or their length.",
        )


@EXERCISE.stage("punctuation")
def _marks_go_to_one(answer: Any, seed: int) -> None:
    for tokens in ([","], ["..."], _pick(_MARKS, 5, generator(seed))):
        _compare(
            answer,
            tokens,
            1,
            "Tokens without any letter or digit are punctuation and belong to expert 1, also "
            "when they have several characters.",
        )


@EXERCISE.stage("mixed tokens")
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
