"""Chapter 00, exercise 0.1: a router made of rules."""

from numbers import Integral
from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, Words, generator, require

# Every entry stands for a shortcut that it defeats: letters of ASCII only, small letters only, the
# ends of a token, `float(token)`, `\\w` with its underscore, the table `string.punctuation`.
_WORDS = ("task", "a", "Router", "X", "GPU", "é", "Ünder", "nan", "Infinity")
_MARKS = (",", ".", "...", "?!", "-", "(", "_", "\u2026", "\u2014", "'")
_MIXED = ("don't", "4th", "top-2", "v2", "3.14", "x=1", "1e5", "-5", "1_000", "5%", "'tis", "(a)")
_NUMBERS = ("7", "0", "007", "1991", "31415926535")
_IDS = {0: _NUMBERS, 1: _MARKS, 2: _WORDS + _MIXED}


# Round brackets, curly ones and none at all make other kinds of collections than a list.
_LISTS = {
    "set": "Curly brackets make a set, which has no order and holds nothing twice.",
    "generator": "Round brackets around `... for ...` make a generator, which has no entries yet.",
    "Tensor": "This is still a tensor: `.tolist()` was left out.",
    "ndarray": "This is still an array: `.tolist()` was left out.",
    "int": "This is a count, or one entry alone.",
}


def require_list_of_ints(got: Any, what: str, cause: str, example: dict[str, Any]) -> None:
    """Reject what is not a list of whole numbers, Python's or NumPy's; booleans are none."""
    kind = type(got).__name__
    require(
        isinstance(got, list),
        f"This is no plain Python list, [0, 2, ...], but of type {kind}.",
        cause=_LISTS.get(kind, "Only square brackets, `list(...)` and `.tolist()` make a list."),
        cure="Begin with `found = []`, append each entry to it, and return it.",
        got=got,
        example=example,
    )
    are_whole = all(isinstance(entry, Integral) and not isinstance(entry, bool) for entry in got)
    cure = "Look at one entry of the list with `type(...)`: it has to be an `int`."
    require(are_whole, what, cause=cause, cure=cure, got=got, example=example)


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
            "The entries of the list are no whole numbers.",
            "These are names, texts, truth values or floats; an expert's id is a number.",
            {"tokens": tokens},
        )
        require(
            len(got) == len(tokens),
            f"The list has {len(got)} entries for {len(tokens)} tokens.",
            cause="The loop returns too early, a token meets no branch or two, or tokens that "
            "repeat were put together.",
            cure="Append exactly one id in each round of the loop, and return behind it.",
            expected=Words(f"a list of {len(tokens)}"),
            got=got,
            example={"tokens": tokens},
        )
        require(
            set(got) <= {0, 1, 2},
            "There are ids in the list that no expert has.",
            cause="Expert ids count from zero, so three experts are 0, 1 and 2.",
            cure="Return 0 for numbers, 1 for punctuation and 2 for the rest.",
            got=got,
            example={"tokens": tokens},
        )


def _compare(
    answer: Any, tokens: list[str], expert: int, symptom: str, cause: str, cure: str
) -> None:
    got = answer(list(tokens))
    require(
        got == [expert] * len(tokens),
        symptom,
        cause=cause,
        cure=cure,
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
            "A number passes the question for words too, so the question that comes first wins.",
            "Ask `token.isdigit()` before anything else.",
        )


@EXERCISE.stage("words")
def _words_go_to_two(answer: Any, seed: int) -> None:
    for tokens in _alone_and_drawn(_WORDS, seed):
        _compare(
            answer,
            tokens,
            2,
            "Plain words belong to expert 2, whatever their letters or their length.",
            "Letters are large and small and of every alphabet, `float` reads some words as "
            "numbers, and 1 and 2 are easily exchanged.",
            "`str.isalnum()` of a single character knows all letters: where it is true, and the "
            "token is no number, the answer is 2.",
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
            "A list of signs is never complete, `token in signs` looks for the whole token, and "
            "`\\w` and `isidentifier` count the underscore among the letters.",
            "Ask what the token does not have: `not any(letter.isalnum() for letter in token)`.",
        )


@EXERCISE.stage("mixed tokens")
def _mixed_go_to_two(answer: Any, seed: int) -> None:
    for tokens in _alone_and_drawn(_MIXED, seed):
        _compare(
            answer,
            tokens,
            2,
            "A token that mixes letters, digits and signs belongs to expert 2.",
            "One digit does not make a number (nor do `float` and `int` decide what is one), one "
            "sign does not make punctuation, and it takes no letter to belong here.",
            "Look at all characters of the token: all digits is 0, neither letter nor digit is 1, "
            "and all that is left is 2.",
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
            cure="Go once through the tokens from first to last, and keep nothing between two.",
            expected=wanted,
            got=got,
            example={"tokens": tokens},
        )
