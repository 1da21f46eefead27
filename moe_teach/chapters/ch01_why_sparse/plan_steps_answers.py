"""Exercise 1.8: wrong answers with what they must be told, and other right ones."""

import random

from moe_teach.chapters.ch01_why_sparse.plan_steps import EXERCISE, n_woken


def cut(order, n_together):
    return [order[start : start + n_together] for start in range(0, len(order), n_together)]


@EXERCISE.wrong(stage="goal", says="The goal is at most 6.2")
def keeps_the_order_of_arrival(expert_ids, n_together):
    return cut(list(range(len(expert_ids))), n_together)


@EXERCISE.wrong(stage="goal", says="by one of their two experts only")
def sorts_by_their_experts(expert_ids, n_together):
    order = sorted(range(len(expert_ids)), key=lambda i: sorted(expert_ids[i]))
    return cut(order, n_together)


@EXERCISE.wrong(stage="small plans", says="are enough")
def begins_a_step_for_each_expert(expert_ids, n_together):
    groups = {}
    for i, row in enumerate(expert_ids):
        groups.setdefault(min(row), []).append(i)
    return [step for group in groups.values() for step in cut(group, n_together)]


@EXERCISE.wrong(stage="small plans", says="is all that fits")
def never_divides_a_group(expert_ids, n_together):
    groups = {}
    for i, row in enumerate(expert_ids):
        groups.setdefault(row[0], []).append(i)
    return list(groups.values())


@EXERCISE.wrong(stage="small plans", says="left waiting")
def leaves_the_rest_waiting(expert_ids, n_together):
    n_full = len(expert_ids) // n_together
    return cut(list(range(n_full * n_together)), n_together)


@EXERCISE.wrong(stage="small plans", says="The steps were joined")
def gives_an_order(expert_ids, n_together):
    return sorted(range(len(expert_ids)), key=lambda i: expert_ids[i])


@EXERCISE.right
def fills_steps_and_exchanges_pairs(expert_ids, n_together):
    plan = fills_one_step_after_another(expert_ids, n_together)
    draw = random.Random(0)
    for _ in range(4000 if len(plan) > 1 else 0):
        one, other = draw.sample(plan, 2)
        i, j = draw.randrange(len(one)), draw.randrange(len(other))
        before = n_woken(expert_ids, one) + n_woken(expert_ids, other)
        one[i], other[j] = other[j], one[i]
        if n_woken(expert_ids, one) + n_woken(expert_ids, other) > before:
            one[i], other[j] = other[j], one[i]
    return plan


@EXERCISE.right
def fills_one_step_after_another(expert_ids, n_together):
    waiting, plan = list(range(len(expert_ids))), []
    while waiting:
        step = [waiting.pop()]
        while waiting and len(step) < n_together:
            best = min(waiting, key=lambda i: n_woken(expert_ids, [*step, i]))
            waiting.remove(best)
            step.append(best)
        plan.append(step)
    return plan
