"""Exercise 5.5: wrong answers with what they must be told, and other right ones."""

import math
from statistics import mean, pstdev, stdev

import numpy as np
import torch

from moe_teach.chapters.ch05_language_model.paired_gain import EXERCISE


def _gains(baseline, candidate):
    return [b - c for b, c in zip(baseline, candidate, strict=True)]


def _judged(gain, uncertainty):
    if abs(gain) <= uncertainty:
        return gain, uncertainty, "inside the noise"
    return gain, uncertainty, "better" if gain > 0 else "worse"


@EXERCISE.wrong(stage="mean gain", says="The sign is turned round")
def turns_the_sign(baseline, candidate, t=4.303):
    gains = _gains(candidate, baseline)
    return _judged(mean(gains), t * stdev(gains) / math.sqrt(len(gains)))


@EXERCISE.wrong(stage="mean gain", says="not a ratio")
def gains_in_percent(baseline, candidate, t=4.303):
    gains = [100 * (b - c) / b for b, c in zip(baseline, candidate, strict=True)]
    return _judged(mean(gains), t * stdev(gains) / math.sqrt(len(gains)))


@EXERCISE.wrong(stage="uncertainty", says="divided by n. For a sample")
def divides_by_n(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * pstdev(gains) / math.sqrt(len(gains)))


@EXERCISE.wrong(stage="uncertainty", says="The root of n is missing")
def forgets_the_root_of_n(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * stdev(gains))


@EXERCISE.wrong(stage="uncertainty", says="not by n.")
def divides_by_n_and_not_its_root(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), t * stdev(gains) / len(gains))


@EXERCISE.wrong(stage="uncertainty", says="treated as strangers")
def treats_the_lists_as_strangers(baseline, candidate, t=4.303):
    spread = math.sqrt((stdev(baseline) ** 2 + stdev(candidate) ** 2) / len(baseline))
    return _judged(mean(_gains(baseline, candidate)), t * spread)


@EXERCISE.wrong(stage="uncertainty", says="spread of the baseline alone")
def looks_at_the_baseline_only(baseline, candidate, t=4.303):
    spread = stdev(baseline) / math.sqrt(len(baseline))
    return _judged(mean(_gains(baseline, candidate)), t * spread)


@EXERCISE.wrong(stage="uncertainty", says="Use the argument `t`")
def fixes_t_at_three_seeds(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    return _judged(mean(gains), 4.303 * stdev(gains) / math.sqrt(len(gains)))


@EXERCISE.wrong(stage="verdict", says="that is a finding too")
def forgets_worse(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    gain, uncertainty = mean(gains), t * stdev(gains) / math.sqrt(len(gains))
    return gain, uncertainty, "better" if gain > uncertainty else "inside the noise"


@EXERCISE.wrong(stage="verdict", says="The two lists are equal")
def counts_the_border_as_a_finding(baseline, candidate, t=4.303):
    gain, uncertainty, _ = with_torch(baseline, candidate, t)
    if abs(gain) >= uncertainty:
        return gain, uncertainty, "better" if gain >= 0 else "worse"
    return gain, uncertainty, "inside the noise"


@EXERCISE.wrong(stage="uncertainty", says="with s and n of the differences")
def trusts_no_pair_of_seeds(baseline, candidate, t=4.303):
    gain, uncertainty, verdict = with_torch(baseline, candidate, t)
    return gain, uncertainty if len(baseline) > 2 else math.inf, verdict


@EXERCISE.wrong(stage="default", says="t is 4.303")
def has_another_default(baseline, candidate, t=1.96):
    return with_torch(baseline, candidate, t)


@EXERCISE.wrong(stage="verdict", says="Everything between is noise")
def wants_every_seed_to_agree(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    gain, uncertainty = mean(gains), t * stdev(gains) / math.sqrt(len(gains))
    if all(g > 0 for g in gains):
        return gain, uncertainty, "better"
    return gain, uncertainty, "worse" if all(g < 0 for g in gains) else "inside the noise"


@EXERCISE.right
def with_torch(baseline, candidate, t=4.303):
    gains = torch.tensor(baseline, dtype=torch.float64) - torch.tensor(
        candidate, dtype=torch.float64
    )
    return _judged(gains.mean().item(), (t * gains.std() / len(gains) ** 0.5).item())


@EXERCISE.right
def by_numpy(baseline, candidate, t=4.303):
    gains = np.subtract(baseline, candidate)
    return _judged(float(gains.mean()), float(t * gains.std(ddof=1) / np.sqrt(gains.size)))


@EXERCISE.right
def by_the_mean_of_squares(baseline, candidate, t=4.303):
    gains = _gains(baseline, candidate)
    n, gain = len(gains), sum(gains) / len(gains)
    variance = sum((g - gain) ** 2 for g in gains) / (n - 1)
    return _judged(gain, t * math.sqrt(variance / n))
