"""Exercise 1.6: wrong answers with what they must be told, and other right ones."""

import math

from moe_teach.chapters.ch01_why_sparse.break_even import EXERCISE


@EXERCISE.wrong(stage="always in use", says="The running cost is missing")
def forgets_the_running_cost(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    return purchase_usd / (use_share * rent_usd_per_hour) if use_share else math.inf


@EXERCISE.wrong(stage="always in use", says="taken for none")
def takes_a_tiny_saving_for_none(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return purchase_usd / saved if saved > 1e-3 else math.inf


@EXERCISE.wrong(stage="partly in use", says="every hour on the calendar")
def runs_only_when_used(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * (rent_usd_per_hour - running_usd_per_hour)
    return purchase_usd / saved if saved > 0 else math.inf


@EXERCISE.wrong(stage="partly in use", says="These are hours of use")
def counts_hours_of_use(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return use_share * purchase_usd / saved if saved > 0 else math.inf


@EXERCISE.wrong(stage="never", says="nothing cannot be divided by")
def divides_without_looking(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    return purchase_usd / (use_share * rent_usd_per_hour - running_usd_per_hour)


@EXERCISE.wrong(stage="never", says="never paid back")
def answers_minus_one(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return purchase_usd / saved if saved > 0 else -1.0


@EXERCISE.right
def comparing_first(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    if use_share * rent_usd_per_hour <= running_usd_per_hour:
        return math.inf
    return purchase_usd / (use_share * rent_usd_per_hour - running_usd_per_hour)


@EXERCISE.right
def with_the_library(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    from moe_teach.cost import break_even_hours

    return break_even_hours(purchase_usd, running_usd_per_hour, use_share * rent_usd_per_hour)


@EXERCISE.wrong(stage="always in use", says="the right number, rounded")
def rounds_up(purchase_usd, running_usd_per_hour, rent_usd_per_hour, use_share):
    saved = use_share * rent_usd_per_hour - running_usd_per_hour
    return math.ceil(purchase_usd / saved) if saved > 0 else math.inf
