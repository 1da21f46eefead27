"""Chapter 01: named answers to exercises 1.4 to 1.6."""

import math

from moe_teach.judging.exercise import right, wrong

# --- 1.4 solve_model --------------------------------------------------------------------------


@wrong("1.4", stage="two numbers", says="Return two plain numbers")
def returns_the_expert_only(total, active, n_experts, top_k):
    return (total - active) / (n_experts - top_k)


@wrong("1.4", stage="equations", says="wrong order")
def returns_the_expert_first(total, active, n_experts, top_k):
    shared, expert = by_two_by_two_system(total, active, n_experts, top_k)
    return expert, shared


@wrong("1.4", stage="equations", says="does not give the total")
def divides_the_total_by_the_experts(total, active, n_experts, top_k):
    expert = total / n_experts
    return active - top_k * expert, expert


@wrong("1.4", stage="equations", says="does not give the active parameters")
def divides_by_all_experts(total, active, n_experts, top_k):
    expert = (total - active) / n_experts
    return total - n_experts * expert, expert


@wrong("1.4", stage="all experts active", says="one and the same")
def divides_by_zero(total, active, n_experts, top_k):
    expert = (total - active) / (n_experts - top_k)
    if expert <= 0 or active < top_k * expert:
        raise ValueError
    return active - top_k * expert, expert


@wrong("1.4", stage="all experts active", says="for bad input, raise ValueError")
def asserts_instead_of_raising(total, active, n_experts, top_k):
    assert top_k < n_experts
    return by_two_by_two_system(total, active, n_experts, top_k)


@wrong("1.4", stage="dense", says="as in a dense model")
def accepts_a_dense_model(total, active, n_experts, top_k):
    if top_k >= n_experts:
        raise ValueError
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


@wrong("1.4", stage="negative shared part", says="no model has these numbers")
def accepts_a_negative_shared_part(total, active, n_experts, top_k):
    if top_k >= n_experts or active >= total:
        raise ValueError
    expert = (total - active) / (n_experts - top_k)
    return active - top_k * expert, expert


@right("1.4")
def by_two_by_two_system(total, active, n_experts, top_k):
    determinant = top_k - n_experts
    if determinant >= 0 or total <= active:
        raise ValueError("no sparse model")
    shared = (total * top_k - active * n_experts) / determinant
    if shared < 0:
        raise ValueError("negative")
    return shared, (active - total) / determinant


@right("1.4")
def as_a_list_with_numpy(total, active, n_experts, top_k):
    import numpy as np

    if top_k >= n_experts or active >= total or active * n_experts < total * top_k:
        raise ValueError("no sparse model")
    return list(np.linalg.solve([[1.0, n_experts], [1.0, top_k]], [total, active]))


@wrong("1.4", stage="all experts active", says="*returned*")
def returns_the_error(total, active, n_experts, top_k):
    if top_k >= n_experts:
        return ValueError("every expert is active")
    return by_two_by_two_system(total, active, n_experts, top_k)


# --- 1.5 expected_distinct --------------------------------------------------------------------


@wrong("1.5", stage="one token", says="sum of the probabilities")
def forgets_top_k(choice_probs, n_tokens):
    n_experts = len(choice_probs)
    return n_experts * (1 - (1 - 1 / n_experts) ** n_tokens)


@wrong("1.5", stage="no token, many tokens", says="never more than there are")
def adds_every_choice(choice_probs, n_tokens):
    return n_tokens * sum(choice_probs)


@wrong("1.5", stage="two tokens, all cases listed", says="counts once")
def stops_at_all_experts(choice_probs, n_tokens):
    return min(float(len(choice_probs)), n_tokens * sum(choice_probs))


@wrong("1.5", stage="uniform", says="independent draws")
def draws_with_replacement(choice_probs, n_tokens):
    n_experts, top_k = len(choice_probs), round(sum(choice_probs))
    if n_tokens == 1:
        return float(top_k)
    return n_experts * (1 - (1 - 1 / n_experts) ** (n_tokens * top_k))


@wrong("1.5", stage="skewed", says="their mean does not do")
def uses_the_mean(choice_probs, n_tokens):
    mean = sum(choice_probs) / len(choice_probs)
    return len(choice_probs) * (1 - (1 - mean) ** n_tokens)


@right("1.5")
def token_by_token(choice_probs, n_tokens):
    asleep = [1.0] * len(choice_probs)
    for _ in range(n_tokens):
        asleep = [rest * (1 - prob) for rest, prob in zip(asleep, choice_probs, strict=True)]
    return len(choice_probs) - sum(asleep)


@right("1.5")
def with_numpy(choice_probs, n_tokens):
    import numpy as np

    return (1 - (1 - np.asarray(choice_probs)) ** n_tokens).sum()


@wrong("1.5", stage="one token", says="stay asleep")
def counts_the_sleepers(choice_probs, n_tokens):
    return sum((1 - prob) ** n_tokens for prob in choice_probs)


# --- 1.6 break_even ---------------------------------------------------------------------------


@wrong("1.6", stage="always in use", says="Owning is not free")
def forgets_the_running_cost(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    return purchase_usd / (use_share * rent_usd_per_hour) if use_share else math.inf


@wrong("1.6", stage="partly in use", says="every hour on the calendar")
def runs_only_when_used(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * (rent_usd_per_hour - running_usd_per_hour)
    return purchase_usd / saved if saved > 0 else math.inf


@wrong("1.6", stage="partly in use", says="These are hours of use")
def counts_hours_of_use(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return use_share * purchase_usd / saved if saved > 0 else math.inf


@wrong("1.6", stage="never", says="nothing cannot be divided by")
def divides_without_looking(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    return purchase_usd / (use_share * rent_usd_per_hour - running_usd_per_hour)


@wrong("1.6", stage="never", says="never paid back")
def answers_minus_one(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return purchase_usd / saved if saved > 0 else -1.0


@right("1.6")
def comparing_first(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    if use_share * rent_usd_per_hour <= running_usd_per_hour:
        return math.inf
    return purchase_usd / (use_share * rent_usd_per_hour - running_usd_per_hour)


@right("1.6")
def with_the_library(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    from moe_teach.cost import break_even_hours

    return break_even_hours(purchase_usd, running_usd_per_hour, use_share * rent_usd_per_hour)


@wrong("1.6", stage="always in use", says="rounded? Return it as it is")
def rounds_up(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return math.ceil(purchase_usd / saved) if saved > 0 else math.inf
