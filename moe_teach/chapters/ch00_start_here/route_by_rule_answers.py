"""Exercise 0.1: wrong answers with what they must be told, and other right ones."""

import re

from moe_teach.chapters.ch00_start_here.route_by_rule import EXERCISE


@EXERCISE.wrong(stage="one expert per token", says="names, texts")
def gives_names(tokens: list[str]) -> list[str]:
    return ["numbers" if token.isdigit() else "words" for token in tokens]


@EXERCISE.wrong(stage="one expert per token", says="of type set")
def gives_a_set(tokens: list[str]) -> set[int]:
    return {0 if token.isdigit() else 2 for token in tokens}


@EXERCISE.wrong(stage="one expert per token", says="in place")
def eats_the_tokens(tokens: list[str]) -> list[int]:
    return [2 for _ in range(len(tokens)) if tokens.pop()]


@EXERCISE.wrong(stage="one expert per token", says="count from zero")
def counts_from_one(tokens: list[str]) -> list[int]:
    return [1 if token.isdigit() else 3 if token[0].isalpha() else 2 for token in tokens]


@EXERCISE.wrong(stage="numbers", says="before anything else")
def asks_for_letters_first(tokens: list[str]) -> list[int]:
    return [2 if token.isalnum() else 0 if token.isdigit() else 1 for token in tokens]


@EXERCISE.wrong(stage="punctuation", says="several characters")
def knows_only_comma_and_stop(tokens: list[str]) -> list[int]:
    return [0 if token.isdigit() else 1 if token in ",.?!" else 2 for token in tokens]


@EXERCISE.wrong(stage="mixed tokens", says="all characters")
def looks_at_the_first_character(tokens: list[str]) -> list[int]:
    first = [token[0] for token in tokens]
    return [0 if letter.isdigit() else 2 if letter.isalpha() else 1 for letter in first]


@EXERCISE.wrong(stage="words", says="of every alphabet")
def knows_english_letters_only(tokens: list[str]) -> list[int]:
    return [0 if t.isdigit() else 2 if re.search("[A-Za-z0-9]", t) else 1 for t in tokens]


@EXERCISE.wrong(stage="all together", says="in the tokens' order")
def groups_by_expert(tokens: list[str]) -> list[int]:
    return sorted(by_counting_characters(tokens))


@EXERCISE.right
def by_regular_expression(tokens: list[str]) -> list[int]:
    return [0 if re.fullmatch(r"\d+", t) else 2 if re.search(r"[^\W_]", t) else 1 for t in tokens]


@EXERCISE.right
def by_counting_characters(tokens: list[str]) -> list[int]:
    experts = []
    for token in tokens:
        n_digits = sum(letter.isdigit() for letter in token)
        n_letters = sum(letter.isalpha() for letter in token)
        if n_digits == len(token):
            experts.append(0)
        else:
            experts.append(2 if n_digits + n_letters else 1)
    return experts


@EXERCISE.right
def with_numpy(tokens):
    import numpy as np

    has = np.array([any(map(str.isalnum, token)) for token in tokens], dtype=bool)
    is_number = np.array([token.isdigit() for token in tokens], dtype=bool)
    return list(np.where(is_number, 0, 1 + has))
