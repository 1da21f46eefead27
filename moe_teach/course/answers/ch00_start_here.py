"""Named answers to the exercises of chapter 00: plausible mistakes, and other right ways."""

import re
from fractions import Fraction

from moe_teach.judging.exercise import right, wrong


@wrong("0.1", stage="one expert per token", says="not their names")
def gives_names(tokens: list[str]) -> list[str]:
    return ["numbers" if token.isdigit() else "words" for token in tokens]


@wrong("0.1", stage="one expert per token", says="of type set")
def gives_a_set(tokens: list[str]) -> set[int]:
    return {0 if token.isdigit() else 2 for token in tokens}


@wrong("0.1", stage="one expert per token", says="in place")
def eats_the_tokens(tokens: list[str]) -> list[int]:
    return [2 for _ in range(len(tokens)) if tokens.pop()]


@wrong("0.1", stage="one expert per token", says="count from zero")
def counts_from_one(tokens: list[str]) -> list[int]:
    return [1 if token.isdigit() else 3 if token[0].isalpha() else 2 for token in tokens]


@wrong("0.1", stage="numbers", says="before anything else")
def asks_for_letters_first(tokens: list[str]) -> list[int]:
    return [2 if token.isalnum() else 0 if token.isdigit() else 1 for token in tokens]


@wrong("0.1", stage="punctuation", says="several characters")
def knows_only_comma_and_stop(tokens: list[str]) -> list[int]:
    return [0 if token.isdigit() else 1 if token in ",.?!" else 2 for token in tokens]


@wrong("0.1", stage="mixed tokens", says="all characters")
def looks_at_the_first_character(tokens: list[str]) -> list[int]:
    first = [token[0] for token in tokens]
    return [0 if letter.isdigit() else 2 if letter.isalpha() else 1 for letter in first]


@right("0.1")
def by_regular_expression(tokens: list[str]) -> list[int]:
    return [0 if re.fullmatch(r"\d+", t) else 2 if re.search(r"[^\W_]", t) else 1 for t in tokens]


@right("0.1")
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


@wrong("0.2", stage="a number", says="Divide with `/`")
def divides_whole_numbers(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> int:
    return (n_shared + top_k * n_per_expert) // (n_shared + n_experts * n_per_expert)


@wrong("0.2", stage="nothing shared", says="on top")
def turns_it_over(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return (n_shared + n_experts * n_per_expert) / (n_shared + top_k * n_per_expert)


@wrong("0.2", stage="dense", says="counted in both numbers")
def forgets_that_shared_ones_work(
    n_shared: int, n_per_expert: int, n_experts: int, top_k: int
) -> float:
    return top_k * n_per_expert / (n_shared + n_experts * n_per_expert)


@wrong("0.2", stage="values", says="work for every token")
def forgets_what_is_shared(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return top_k / n_experts


@right("0.2")
def by_what_rests(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    resting = (n_experts - top_k) * n_per_expert
    return 1.0 - resting / (n_shared + n_experts * n_per_expert)


@right("0.2")
def by_exact_fractions(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    active = n_shared + top_k * n_per_expert
    return float(Fraction(active, active + (n_experts - top_k) * n_per_expert))


@wrong("0.3", stage="one choice per token", says="whole numbers")
def marks_instead_of_listing(expert_ids: list[list[int]], expert: int) -> list[bool]:
    return [expert in chosen for chosen in expert_ids]


@wrong("0.3", stage="one choice per token", says="counted from zero")
def counts_positions_from_one(expert_ids: list[list[int]], expert: int) -> list[int]:
    return [i for i, chosen in enumerate(expert_ids, start=1) if expert in chosen]


@wrong("0.3", stage="several choices", says="second or third choice")
def sees_first_choices_only(expert_ids: list[list[int]], expert: int) -> list[int]:
    return [i for i, chosen in enumerate(expert_ids) if chosen[0] == expert]


@wrong("0.3", stage="an expert that nobody chose", says="empty list")
def says_minus_one_for_nobody(expert_ids: list[list[int]], expert: int) -> list[int]:
    found = [i for i, chosen in enumerate(expert_ids) if expert in chosen]
    return found or [-1]


@right("0.3")
def by_a_plain_loop(expert_ids: list[list[int]], expert: int) -> list[int]:
    found = []
    for position in range(len(expert_ids)):
        if expert_ids[position].count(expert) > 0:
            found.append(position)
    return found


@right("0.3")
def by_sorting_pairs(expert_ids: list[list[int]], expert: int) -> list[int]:
    pairs = {(e, position) for position, chosen in enumerate(expert_ids) for e in chosen}
    return [position for e, position in sorted(pairs) if e == expert]
