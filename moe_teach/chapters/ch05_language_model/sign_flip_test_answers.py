"""Exercise 5.5: wrong answers with what they must be told, and other right ones."""

from itertools import permutations, product
from math import isclose
from statistics import fmean as mean

import numpy as np
import torch

from moe_teach.chapters.ch05_language_model.sign_flip_test import EXERCISE


def _gains(baseline, candidate):
    return [b - c for b, c in zip(baseline, candidate, strict=True)]


def _sums(gains):
    patterns = product((1, -1), repeat=len(gains))
    return [sum(s * g for s, g in zip(signs, gains, strict=True)) for signs in patterns]


def _judged(gains, p, level):
    if p > level:
        return mean(gains), p, "inside the noise"
    return mean(gains), p, "better" if sum(gains) > 0 else "worse"


def _right(gains):
    return mean(abs(s) >= abs(sum(gains)) - 1e-9 for s in _sums(gains))


@EXERCISE.wrong(stage="three results", says="a verdict in words")
def says_true_or_false(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return mean(gains), _right(gains), _right(gains) <= level


@EXERCISE.wrong(stage="mean gain", says="the *candidate* has the lower loss")
def turns_the_sign(baseline, candidate, level=0.05):
    gains = _gains(candidate, baseline)
    return _judged(gains, _right(gains), level)


@EXERCISE.wrong(stage="p", says="compare sizes, without the sign")
def counts_one_side(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return _judged(gains, mean(s >= sum(gains) - 1e-9 for s in _sums(gains)), level)


@EXERCISE.wrong(stage="p", says="not even yours itself")
def leaves_its_own_pattern_out(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return _judged(gains, mean(abs(s) > abs(sum(gains)) + 1e-9 for s in _sums(gains)), level)


@EXERCISE.wrong(stage="p", says="the chance that all signs agree")
def looks_at_the_signs_only(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return _judged(gains, 2 * 0.5 ** len(gains), level)


@EXERCISE.wrong(stage="p", says="shuffled within a list")
def shuffles_the_seeds(baseline, candidate, level=0.05):
    gains, hits = _gains(baseline, candidate), []
    for order in permutations(candidate[:5]):
        rest = (*order, *candidate[5:])
        hits.append(abs(sum(_gains(baseline, rest))) >= abs(sum(gains)) - 1e-9)
    return _judged(gains, float(mean(hits)), level)


@EXERCISE.wrong(stage="p", says="drawn at random")
def draws_patterns_at_random(baseline, candidate, level=0.05):
    gains = torch.tensor(_gains(baseline, candidate), dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(2, (10_000, len(gains)), generator=random) * 2 - 1
    hits = (signs * gains).sum(-1).abs() >= gains.sum().abs() - 1e-9
    return _judged(gains.tolist(), hits.double().mean().item(), level)


@EXERCISE.wrong(stage="ties in rounding", says="lost to rounding")
def compares_floats_exactly(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return _judged(gains, mean(abs(s) >= abs(sum(gains)) for s in _sums(gains)), level)


@EXERCISE.wrong(stage="verdict", says="compared with <")
def wants_p_below_the_level(baseline, candidate, level=0.05):
    gains = _gains(baseline, candidate)
    return _judged(gains, _right(gains), level * (1 - 1e-12))


@EXERCISE.wrong(stage="verdict", says="worse is forgotten")
def forgets_worse(baseline, candidate, level=0.05):
    gain, p, verdict = with_numpy(baseline, candidate, level)
    return gain, p, verdict if verdict == "better" else "inside the noise"


@EXERCISE.wrong(stage="default", says="the level is 0.05")
def has_another_default(baseline, candidate, level=0.1):
    return with_numpy(baseline, candidate, level)


@EXERCISE.right
def with_numpy(baseline, candidate, level=0.05):
    gains = np.subtract(baseline, candidate)
    signs = np.array(list(product((1.0, -1.0), repeat=len(gains))))
    hits = np.abs(signs @ gains) >= abs(gains.sum()) - 1e-9
    return _judged(gains.tolist(), float(hits.mean()), level)


@EXERCISE.right
def by_exchanging_the_two_models(baseline, candidate, level=0.05):
    n, gains, hits = len(baseline), _gains(baseline, candidate), 0
    for number in range(2**n):
        total = sum(-g if number >> i & 1 else g for i, g in enumerate(gains))
        at_least = abs(total) > abs(sum(gains))
        hits += at_least or isclose(abs(total), abs(sum(gains)), rel_tol=1e-9, abs_tol=1e-9)
    return _judged(gains, hits / 2**n, level)


@EXERCISE.right
def by_building_the_sums_one_seed_at_a_time(baseline, candidate, level=0.05):
    gains, sums = _gains(baseline, candidate), [0.0]
    for gain in gains:
        sums = [total + part for total in sums for part in (gain, -gain)]
    hits = [abs(total) >= abs(sum(gains)) - 1e-9 for total in sums]
    return _judged(gains, sum(hits) / len(hits), level)
