"""Exercise 15.3: wrong answers with what they must be told, and other right ones."""

import math
from itertools import pairwise

from moe_teach.chapters.ch15_serving.latency_summary import EXERCISE


def _lists(arrived, token_times):
    first = [t[0] - a if t else math.inf for a, t in zip(arrived, token_times, strict=True)]
    return first, [b - a for t in token_times for a, b in pairwise(t)]


def _ranked(values, percents):
    ordered = sorted(values)
    return {p: ordered[-(-p * len(ordered) // 100) - 1] if ordered else math.nan for p in percents}


@EXERCISE.wrong(stage="nobody is left out", says="never answered")
def leaves_out_who_was_not_answered(arrived, token_times, percents=(50, 95, 99)):
    first, between = _lists(arrived, token_times)
    answered = [wait for wait in first if wait < math.inf]
    return _ranked(answered, percents), _ranked(between, percents)


@EXERCISE.wrong(stage="waits and gaps", says="not the percentiles of the waits")
def starts_the_clock_at_zero(arrived, token_times, percents=(50, 95, 99)):
    _, between = _lists(arrived, token_times)
    return _ranked([t[0] if t else math.inf for t in token_times], percents), _ranked(
        between, percents
    )


@EXERCISE.wrong(stage="waits and gaps", says="not the percentiles of the waits")
def waits_for_the_whole_answer(arrived, token_times, percents=(50, 95, 99)):
    _, between = _lists(arrived, token_times)
    whole = [t[-1] - a if t else math.inf for a, t in zip(arrived, token_times, strict=True)]
    return _ranked(whole, percents), _ranked(between, percents)


@EXERCISE.wrong(stage="waits and gaps", says="`between`")
def one_mean_gap_for_each_answer(arrived, token_times, percents=(50, 95, 99)):
    first, _ = _lists(arrived, token_times)
    means = [(t[-1] - t[0]) / (len(t) - 1) for t in token_times if len(t) > 1]
    return _ranked(first, percents), _ranked(means, percents)


@EXERCISE.wrong(stage="waits and gaps", says="taken between two of them")
def interpolates(arrived, token_times, percents=(50, 95, 99)):
    def between_two(values, percent):
        ordered = sorted(values)
        if not ordered:
            return math.nan
        place = percent / 100 * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        return low if low == high else low + (high - low) * (place % 1)

    first, gaps = _lists(arrived, token_times)
    return tuple({p: between_two(part, p) for p in percents} for part in (first, gaps))


@EXERCISE.wrong(stage="waits and gaps", says="of another rank")
def rounds_down(arrived, token_times, percents=(50, 95, 99)):
    def place(values, percent):
        ordered = sorted(values)
        at = min(int(percent / 100 * len(ordered)), len(ordered) - 1)
        return ordered[at] if ordered else math.nan

    first, gaps = _lists(arrived, token_times)
    return tuple({p: place(part, p) for p in percents} for part in (first, gaps))


@EXERCISE.wrong(stage="waits and gaps", says="so no percentile either")
def nothing_counts_as_zero(arrived, token_times, percents=(50, 95, 99)):
    first, gaps = _lists(arrived, token_times)
    return _ranked(first, percents), _ranked(gaps or [0.0], percents)


@EXERCISE.wrong(stage="ranks", says="the percentiles of many are not")
def rounds_in_floats(arrived, token_times, percents=(50, 95, 99)):
    def rank(values, percent):
        ordered = sorted(values)
        return ordered[math.ceil(percent * 0.01 * len(ordered)) - 1] if ordered else math.nan

    first, gaps = _lists(arrived, token_times)
    return tuple({p: rank(part, p) for p in percents} for part in (first, gaps))


@EXERCISE.wrong(stage="two dictionaries", says="two dictionaries")
def always_the_same_three(arrived, token_times, percents=(50, 95, 99)):
    first, between = _lists(arrived, token_times)
    return _ranked(first, (50, 95, 99)), _ranked(between, (50, 95, 99))


@EXERCISE.right
def by_counting(arrived, token_times, percents=(50, 95, 99)):
    def at(values, percent):
        for value in sorted(values):
            if 100 * sum(other <= value for other in values) >= percent * len(values):
                return value
        return float("nan")

    first, gaps = _lists(arrived, token_times)
    return {p: at(first, p) for p in percents}, {p: at(gaps, p) for p in percents}


@EXERCISE.right
def with_numpy(arrived, token_times, percents=(50, 95, 99)):
    import numpy as np

    def at(values):
        ordered = np.sort(np.asarray(values, dtype=float))
        ranks = [(p * len(ordered) + 99) // 100 - 1 for p in percents]
        return {
            p: ordered[r] if len(ordered) else np.nan for p, r in zip(percents, ranks, strict=True)
        }

    first, gaps = _lists(arrived, token_times)
    return at(first), at(gaps)
