"""Exercise 5.4: wrong answers with what they must be told, and other right ones."""

import bisect
import math

import numpy as np

from moe_teach.chapters.ch05_language_model.loss_at_budget import EXERCISE


def _paid(steps, losses, price, budget):
    return [loss for step, loss in zip(steps, losses, strict=True) if step * price <= budget]


@EXERCISE.wrong(stage="between measurements", says="The price was forgotten")
def forgets_the_price(steps, losses, price, budget):
    paid = _paid(steps, losses, 1, budget)
    return paid[-1] if paid else math.inf


@EXERCISE.wrong(stage="between measurements", says="This is the best")
def takes_the_best(steps, losses, price, budget):
    return min(_paid(steps, losses, price, budget), default=math.inf)


@EXERCISE.wrong(stage="between measurements", says="Do not interpolate")
def interpolates(steps, losses, price, budget):
    return float(np.interp(budget / price, steps, losses))


@EXERCISE.wrong(stage="between measurements", says="never paid for")
def takes_the_next(steps, losses, price, budget):
    place = bisect.bisect_left(steps, budget / price)
    return losses[min(place, len(losses) - 1)]


@EXERCISE.wrong(stage="between measurements", says="was *not* paid for")
def stops_one_too_late(steps, losses, price, budget):
    for step, loss in zip(steps, losses, strict=True):
        if step * price > budget:
            return loss
    return math.inf


@EXERCISE.wrong(stage="between measurements", says="were added up")
def adds_the_costs_up(steps, losses, price, budget):
    spent, last = 0.0, math.inf
    for step, loss in zip(steps, losses, strict=True):
        spent += step * price
        if spent <= budget:
            last = loss
    return last


@EXERCISE.wrong(stage="between measurements", says="nearest to the budget")
def takes_the_nearest(steps, losses, price, budget):
    return min(zip(steps, losses, strict=True), key=lambda p: abs(p[0] * price - budget))[1]


@EXERCISE.wrong(stage="between measurements", says="The place in the list")
def counts_places_for_steps(steps, losses, price, budget):
    return losses[min(int(budget / price), len(losses)) - 1]


@EXERCISE.wrong(stage="between measurements", says="taken for no loss at all")
def takes_a_loss_of_zero_for_none(steps, losses, price, budget):
    paid = [loss for loss in _paid(steps, losses, price, budget) if loss]
    return paid[-1] if paid else math.inf


@EXERCISE.wrong(stage="between measurements", says="not the last loss")
def allows_a_little_more(steps, losses, price, budget):
    paid = _paid(steps, losses, price, budget + 1e-3)
    return paid[-1] if paid else math.inf


@EXERCISE.wrong(stage="between measurements", says="at step 0 was left out")
def skips_what_was_measured_before_the_first_step(steps, losses, price, budget):
    paid = [loss for step, loss in zip(steps, losses, strict=True) if 0 < step * price <= budget]
    return paid[-1] if paid else math.inf


@EXERCISE.wrong(stage="to the last penny", says="Compare with <=")
def spends_too_little(steps, losses, price, budget):
    paid = [loss for step, loss in zip(steps, losses, strict=True) if step * price < budget]
    return paid[-1] if paid else math.inf


@EXERCISE.wrong(stage="nothing paid for", says="is no error")
def fails_on_nothing(steps, losses, price, budget):
    return _paid(steps, losses, price, budget)[-1]


@EXERCISE.wrong(stage="nothing paid for", says="so nothing is known")
def returns_the_first_for_nothing(steps, losses, price, budget):
    paid = _paid(steps, losses, price, budget)
    return paid[-1] if paid else losses[0]


@EXERCISE.right
def by_bisection(steps, losses, price, budget):
    place = bisect.bisect_right([step * price for step in steps], budget)
    return losses[place - 1] if place else math.inf


@EXERCISE.right
def by_dividing_the_budget(steps, losses, price, budget):
    place = np.searchsorted(steps, budget / price, side="right")
    return np.float64([math.inf, *losses][place])


@EXERCISE.right
def by_walking_backwards(steps, losses, price, budget):
    for step, loss in reversed(list(zip(steps, losses, strict=True))):
        if price * step <= budget:
            return loss
    return float("inf")
