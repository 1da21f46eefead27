"""Exercise 0.2: wrong answers with what they must be told, and other right ones."""

from fractions import Fraction

from moe_teach.chapters.ch00_start_here.active_fraction import EXERCISE


@EXERCISE.wrong(stage="a number", says="Divide with `/`")
def divides_whole_numbers(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> int:
    return (n_shared + top_k * n_per_expert) // (n_shared + n_experts * n_per_expert)


@EXERCISE.wrong(stage="nothing shared", says="on top, the division")
def turns_it_over(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return (n_shared + n_experts * n_per_expert) / (n_shared + top_k * n_per_expert)


@EXERCISE.wrong(stage="dense", says="missing in one of the two counts")
def forgets_that_shared_ones_work(
    n_shared: int, n_per_expert: int, n_experts: int, top_k: int
) -> float:
    return top_k * n_per_expert / (n_shared + n_experts * n_per_expert)


@EXERCISE.wrong(stage="values", says="work for every token")
def forgets_what_is_shared(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return top_k / n_experts


@EXERCISE.wrong(stage="nothing shared", says="the right number, rounded")
def rounds_to_three_decimals(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    return round(by_what_rests(n_shared, n_per_expert, n_experts, top_k), 3)


@EXERCISE.wrong(stage="a number", says="two numbers that were never divided")
def returns_both_counts(n_shared, n_per_expert, n_experts, top_k):
    return n_shared + top_k * n_per_expert, n_shared + n_experts * n_per_expert


@EXERCISE.right
def by_what_rests(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    resting = (n_experts - top_k) * n_per_expert
    return 1.0 - resting / (n_shared + n_experts * n_per_expert)


@EXERCISE.right
def by_exact_fractions(n_shared: int, n_per_expert: int, n_experts: int, top_k: int) -> float:
    active = n_shared + top_k * n_per_expert
    return float(Fraction(active, active + (n_experts - top_k) * n_per_expert))
