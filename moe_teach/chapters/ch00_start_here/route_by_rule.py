"""Chapter 00, exercise 0.1: a router made of rules."""

from numbers import Integral
from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, generator, require

# Every entry stands for a shortcut that it defeats: letters of ASCII only, small letters only, the
# ends of a token, `float(token)`, `\\w` with its underscore, the table `string.punctuation`.
_WORDS = ("task", "a", "Router", "X", "GPU", "é", "Ünder", "nan", "Infinity")
_MARKS = (",", ".", "...", "?!", "-", "(", "_", "\u2026", "\u2014", "'")
_MIXED = ("don't", "4th", "top-2", "v2", "3.14", "x=1", "1e5", "-5", "1_000", "5%", "'tis", "(a)")
_NUMBERS = ("7", "0", "007", "1991", "31415926535")
_IDS = {0: _NUMBERS, 1: _MARKS, 2: _WORDS + _MIXED}


def require_list_of_ints(got: Any, what: str, example: dict[str, Any]) -> None:
    """Reject what is not a list of whole numbers, Python's or NumPy's; booleans are none."""
    require(
        isinstance(got, list),
        f"Return a plain Python list, [0, 2, ...]; this is of type {type(got).__name__}.",
        cause="`.tolist()` makes a list of a tensor or an array, `list(...)` of a set; a single "
        "number still needs its [ ].",
        got=got,
        example=example,
    )
    are_whole = all(isinstance(entry, Integral) and not isinstance(entry, bool) for entry in got)
    require(are_whole, what, got=got, example=example)


def _pick(pool: tuple[str, ...], count: int, random: torch.Generator) -> list[str]:
    return [pool[i] for i in torch.randint(len(pool), (count,), generator=random).tolist()]


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
    repeated = _pick(_WORDS + _MARKS, 3, random)
    for tokens in (*(_pick(_WORDS + _MARKS, count, random) for count in (1, 7)), repeated * 2):
        got = answer(list(tokens))
        require_list_of_ints(
            got,
            "The list must hold whole numbers: the ids of experts, not their names or texts.",
            {"tokens": tokens},
        )
        require(
            len(got) == len(tokens),
            "There must be exactly one expert id per token, also where tokens repeat.",
            expected=len(tokens),
            got=len(got),
            example={"tokens": tokens},
        )
        require(
            set(got) <= {0, 1, 2},
            "Expert ids count from zero, so three experts are 0, 1 and 2.",
            got=got,
            example={"tokens": tokens},
        )


def _compare(answer: Any, tokens: list[str], expert: int, symptom: str, cause: str) -> None:
    got = answer(list(tokens))
    require(
        got == [expert] * len(tokens),
        symptom,
        cause=cause,
        expected=[expert] * len(tokens),
        got=got,
        example={"tokens": tokens},
    )


def _alone_and_drawn(pool: tuple[str, ...], seed: int) -> list[list[str]]:
    """Give each token alone and in a fixed order, so that every seed meets all; then some."""
    return [*([token] for token in pool), _pick(pool, 5, generator(seed))]


@EXERCISE.stage("numbers")
def _numbers_go_to_zero(answer: Any, seed: int) -> None:
    drawn = tuple(str(i) for i in torch.randint(3000, (5,), generator=generator(seed)).tolist())
    for tokens in _alone_and_drawn(_NUMBERS + drawn, seed):
        _compare(
            answer,
            tokens,
            0,
            "Tokens made of digits only belong to expert 0, however many digits they have.",
            "A number passes the question for words too. Ask for numbers before anything else.",
        )


@EXERCISE.stage("words")
def _words_go_to_two(answer: Any, seed: int) -> None:
    for tokens in _alone_and_drawn(_WORDS, seed):
        _compare(
            answer,
            tokens,
            2,
            "Plain words belong to expert 2, whatever their letters or their length.",
            "Letters are large and small and of every alphabet, and `float` reads some words as "
            "numbers. `str.isalpha()` and `str.isalnum()` know all letters.",
        )


@EXERCISE.stage("punctuation")
def _marks_go_to_one(answer: Any, seed: int) -> None:
    for tokens in _alone_and_drawn(_MARKS, seed):
        _compare(
            answer,
            tokens,
            1,
            "Tokens without any letter or digit are punctuation and belong to expert 1, also "
            "when they have several characters.",
            "A list of signs is never complete, and `\\w` of a regular expression contains the "
            "underscore. Ask what the token does not have.",
        )


@EXERCISE.stage("mixed tokens")
def _mixed_go_to_two(answer: Any, seed: int) -> None:
    for tokens in _alone_and_drawn(_MIXED, seed):
        _compare(
            answer,
            tokens,
            2,
            "A token that mixes letters, digits and signs belongs to expert 2.",
            "Look at all characters of the token: one digit does not make a number (nor does "
            "`float` decide what is one), and one sign does not make punctuation.",
        )


@EXERCISE.stage("all together")
def _all_together(answer: Any, seed: int) -> None:
    random = generator(seed)
    for count in (3, 17):
        wanted = torch.randint(3, (count,), generator=random).tolist()
        if wanted == sorted(wanted):
            wanted = [2, 0, 1] * (count // 3)
        tokens = [_pick(_IDS[expert], 1, random)[0] for expert in wanted]
        got = answer(list(tokens))
        require(
            got == wanted,
            "Each of these tokens is right when it comes alone, and here they are mixed.",
            cause="An id depends on its own token only, and the ids come in the tokens' order.",
            expected=wanted,
            got=got,
            example={"tokens": tokens},
        )
