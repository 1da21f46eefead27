"""Exercise 1.4: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch01_why_sparse.solve_model import EXERCISE


@EXERCISE.wrong(stage="two numbers", says="not a pair of numbers")
def returns_the_expert_only(total, active, n_experts, top_k):
    return (total - active) / (n_experts - top_k)


@EXERCISE.right
def by_two_by_two_system(total, active, n_experts, top_k):
    determinant = top_k - n_experts
    if determinant >= 0 or total <= active:
        raise ValueError("no sparse model")
    shared = (total * top_k - active * n_experts) / determinant
    if shared < 0:
        raise ValueError("negative")
    return shared, (active - total) / determinant


@EXERCISE.wrong(stage="equations", says="wrong order")
def returns_the_expert_first(total, active, n_experts, top_k):
    shared, expert = by_two_by_two_system(total, active, n_experts, top_k)
    return expert, shared


@EXERCISE.wrong(stage="equations", says="does not give the total")
def divides_the_total_by_the_experts(total, active, n_experts, top_k):
    expert = total / n_experts
    return active - top_k * expert, expert


@EXERCISE.wrong(stage="equations", says="does not give the active parameters")
def divides_by_all_experts(total, active, n_experts, top_k):
    expert = (total - active) / n_experts
    return total - n_experts * expert, expert


@EXERCISE.wrong(stage="all experts active", says="one and the same")
def divides_by_zero(total, active, n_experts, top_k):
    expert = (total - active) / (n_experts - top_k)
    if expert <= 0 or active < top_k * expert:
        raise ValueError
    return active - top_k * expert, expert


@EXERCISE.wrong(stage="all experts active", says="by an AssertionError")
def asserts_instead_of_raising(total, active, n_experts, top_k):
    assert top_k < n_experts
    return by_two_by_two_system(total, active, n_experts, top_k)


@EXERCISE.wrong(stage="all experts active", says="not only an equal one")
def refuses_only_an_equal_top_k(total, active, n_experts, top_k):
    if top_k == n_experts:
        raise ValueError("every expert is active")
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


@EXERCISE.wrong(stage="equations", says="none below zero")
def refuses_where_nothing_is_shared(total, active, n_experts, top_k):
    shared, expert = by_two_by_two_system(total, active, n_experts, top_k)
    if shared <= 0:
        raise ValueError("nothing is shared")
    return shared, expert


@EXERCISE.wrong(stage="dense", says="as in a dense model")
def accepts_a_dense_model(total, active, n_experts, top_k):
    if top_k >= n_experts:
        raise ValueError
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


@EXERCISE.wrong(stage="negative shared part", says="no model has these numbers")
def accepts_a_negative_shared_part(total, active, n_experts, top_k):
    if top_k >= n_experts or active >= total:
        raise ValueError
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


@EXERCISE.wrong(stage="equations", says="two right numbers, rounded")
def rounds_to_two_decimals(total, active, n_experts, top_k):
    shared, expert = by_two_by_two_system(total, active, n_experts, top_k)
    return round(shared, 2), round(expert, 2)


@EXERCISE.right
def as_a_list_with_numpy(total, active, n_experts, top_k):
    import numpy as np

    if top_k >= n_experts or active >= total or active * n_experts < total * top_k:
        raise ValueError("no sparse model")
    return list(np.linalg.solve([[1.0, n_experts], [1.0, top_k]], [total, active]))


@EXERCISE.wrong(stage="all experts active", says="*returned*")
def returns_the_error(total, active, n_experts, top_k):
    if top_k >= n_experts:
        return ValueError("every expert is active")
    return by_two_by_two_system(total, active, n_experts, top_k)
