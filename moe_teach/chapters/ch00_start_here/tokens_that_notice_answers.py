"""Exercise 0.3: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch00_start_here.tokens_that_notice import EXERCISE


@EXERCISE.wrong(stage="one choice per token", says="whole numbers")
def marks_instead_of_listing(expert_ids: list[list[int]], expert: int) -> list[bool]:
    return [expert in chosen for chosen in expert_ids]


@EXERCISE.wrong(stage="one choice per token", says="counted from zero")
def counts_positions_from_one(expert_ids: list[list[int]], expert: int) -> list[int]:
    return [i for i, chosen in enumerate(expert_ids, start=1) if expert in chosen]


@EXERCISE.wrong(stage="several choices", says="second or third choice")
def sees_first_choices_only(expert_ids: list[list[int]], expert: int) -> list[int]:
    return [i for i, chosen in enumerate(expert_ids) if chosen[0] == expert]


@EXERCISE.wrong(stage="an expert that nobody chose", says="empty list")
def says_minus_one_for_nobody(expert_ids: list[list[int]], expert: int) -> list[int]:
    found = [i for i, chosen in enumerate(expert_ids) if expert in chosen]
    return found or [-1]


@EXERCISE.wrong(stage="ids of two digits", says="numbers, not texts")
def searches_in_the_text(expert_ids: list[list[int]], expert: int) -> list[int]:
    return [i for i, chosen in enumerate(expert_ids) if str(expert) in str(chosen)]


@EXERCISE.right
def by_a_plain_loop(expert_ids: list[list[int]], expert: int) -> list[int]:
    found = []
    for position in range(len(expert_ids)):
        if expert_ids[position].count(expert) > 0:
            found.append(position)
    return found


@EXERCISE.right
def by_sorting_pairs(expert_ids: list[list[int]], expert: int) -> list[int]:
    pairs = {(e, position) for position, chosen in enumerate(expert_ids) for e in chosen}
    return [position for e, position in sorted(pairs) if e == expert]
