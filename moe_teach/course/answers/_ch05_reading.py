"""Chapter 05, exercises 5.4 and 5.5: wrong and right ways to read curves and gains."""

import bisect
import math
from statistics import mean, pstdev, stdev

import numpy as np
import torch

from moe_teach.judging.exercise import right, wrong


def _paid(steps, losses, price, budget):
    return [loss for step, loss in zip(steps, losses, strict=True) if step * price <= budget]


# --- 5.4 loss_at_budget -----------------------------------------------------------------------


@wrong("5.4", stage="between measurements", says="The price was forgotten")
def forgets_the_price(steps, losses, price, budget):
    paid = _paid(steps, losses, 1, budget)
    return paid[-1] if paid else math.inf


@wrong("5.4", stage="between measurements", says="This is the best")
def takes_the_best(steps, losses, price, budget):
    return min(_paid(steps, losses, price, budget), default=math.inf)


@wrong("5.4", stage="between measurements", says="Do not interpolate")
def interpolates(steps, losses, price, budget):
    return float(np.interp(budget / price, steps, losses))


@wrong("5.4", stage="between measurements", says="never paid for")
def takes_the_next(steps, losses, price, budget):
    place = bisect.bisect_left(steps, budget / price)
    return losses[min(place, len(losses) - 1)]


@wrong("5.4", stage="between measurements", says="was *not* paid for")
def stops_one_too_late(steps, losses, price, budget):
    for step, loss in zip(steps, losses, strict=True):
        if step * price > budget:
            return loss
    return math.inf


@wrong("5.4", stage="between measurements", says="were added up")
def adds_the_costs_up(steps, losses, price, budget):
    spent, last = 0.0, math.inf
    for step, loss in zip(steps, losses, strict=True):
        spent += step * price
        if spent <= budget:
            last = loss
    return last


@wrong("5.4", stage="between measurements", says="nearest to the budget")
def takes_the_nearest(steps, losses, price, budget):
    return min(zip(steps, losses, strict=True), key=lambda p: abs(p[0] * price - budget))[1]


@wrong("5.4", stage="between measurements", says="The place in the list")
def counts_places_for_steps(steps, losses, price, budget):
    return losses[min(int(budget / price), len(losses)) - 1]


@wrong("5.4", stage="to the last penny", says="Compare with <=")
def spends_too_little(steps, losses, price, budget):
    paid = [loss for step, loss in zip(steps, losses, strict=True) if step * price < budget]
    return paid[-1] if paid else math.inf


@wrong("5.4", stage="nothing paid for", says="is no error")
def fails_on_nothing(steps, losses, price, budget):
    return _paid(steps, losses, price, budget)[-1]


@wrong("5.4", stage="nothing paid for", says="so nothing is known")
def returns_the_first_for_nothing(steps, losses, price, budget):
    paid = _paid(steps, losses, price, budget)
    return paid[-1] if paid else losses[0]


@right("5.4")
def by_bisection(steps, losses, price, budget):
    place = bisect.bisect_right([step * price for step in steps], budget)
    return losses[place - 1] if place else math.inf


@right("5.4")
def by_walking_backwards(steps, losses, price, budget):
    for step, loss in reversed(list(zip(steps, losses, strict=True))):
        if price * step <= budget:
            return loss
    return float("inf")


# --- 5.5 paired_gain --------------------------------------------------------------------------


def _gains(baseline, candidate):
    return [b - c for b, c in zip(baseline, candidate, strict=True)]


def _judged(gain, uncertainty):
    if abs(gain) <= uncertainty:
        return gain, uncertainty, "inside the noise"
    return gain, uncertainty, "better" if gain > 0 else "worse"


@wrong("5.5", stage="mean gain", says="The sign is turned round")
def turns_the_sign(baseline, candidate, t=4.303):
    gains = _gains(candidate, baseline)
    return _judged(mean(gains), t * stdev(gains) / math.sqrt(len(gains)))


@wrong("5.5", stage="mean gain", says="not a ratio")
def gains_in_percent(baseline, candidate, t=4.303):
    gains = [100 * (b - c) / b for b, c in zip(baseline, candidate, strict=True)]
    return _judged(mean(gains), t * stdev(gains) / math.sqrt(len(gains)))


@wrong("5.5", stage="uncertainty", says="divided by n. For a sample")
def divides_by_n(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * pstdev(gains) / math.sqrt(len(gains)))


@wrong("5.5", stage="uncertainty", says="The root of n is missing")
def forgets_the_root_of_n(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * stdev(gains))


@wrong("5.5", stage="uncertainty", says="not by n.")
def divides_by_n_and_not_its_root(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * stdev(gains) / len(gains))


@wrong("5.5", stage="uncertainty", says="treated as strangers")
def treats_the_lists_as_strangers(baseline, candidate, t=4.303):
    spread = math.sqrt((stdev(baseline) ** 2 + stdev(candidate) ** 2) / len(baseline))
    return _judged(mean(_gains(baseline, candidate)), t * spread)


@wrong("5.5", stage="uncertainty", says="spread of the baseline alone")
def looks_at_the_baseline_only(baseline, candidate, t=4.303):
    spread = stdev(baseline) / math.sqrt(len(baseline))
    return _judged(mean(_gains(baseline, candidate)), t * spread)


@wrong("5.5", stage="uncertainty", says="Use the argument `t`")
def fixes_t_at_three_seeds(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), 4.303 * stdev(gains) / math.sqrt(len(gains)))


@wrong("5.5", stage="verdict", says="that is a finding too")
def forgets_worse(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    gain, uncertainty = mean(gains), t * stdev(gains) / math.sqrt(len(gains))
    return gain, uncertainty, "better" if gain > uncertainty else "inside the noise"


@wrong("5.5", stage="verdict", says="everything between is noise")
def wants_every_seed_to_agree(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    gain, uncertainty = mean(gains), t * stdev(gains) / math.sqrt(len(gains))
    if all(g > 0 for g in gains):
        return gain, uncertainty, "better"
    return gain, uncertainty, "worse" if all(g < 0 for g in gains) else "inside the noise"


@right("5.5")
def with_torch(baseline, candidate, t=4.303):
    gains = torch.tensor(baseline, dtype=torch.float64) - torch.tensor(
        candidate, dtype=torch.float64
    )
    return _judged(gains.mean().item(), (t * gains.std() / len(gains) ** 0.5).item())


@right("5.5")
def by_numpy(baseline, candidate, t=4.303):
    gains = np.subtract(baseline, candidate)
    return _judged(float(gains.mean()), float(t * gains.std(ddof=1) / np.sqrt(gains.size)))


@right("5.5")
def by_the_mean_of_squares(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    n, gain = len(gains), sum(gains) / len(gains)
    variance = sum((g - gain) ** 2 for g in gains) / (n - 1)
    return _judged(gain, t * math.sqrt(variance / n))
