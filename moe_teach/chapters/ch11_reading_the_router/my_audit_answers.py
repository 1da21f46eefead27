"""Exercise 11.7: audits that judge by something else, and other right ones."""

import torch

from moe_teach.chapters.ch11_reading_the_router.made_up import KEYS, VERDICTS
from moe_teach.chapters.ch11_reading_the_router.my_audit import EXERCISE, PARTS, right


@EXERCISE.wrong(stage="what comes back", says="these four names")
def one_dictionary(*given, **parts):
    return right(*given, **parts)[0]


@EXERCISE.wrong(stage="what comes back", says="none of the three")
def verdict_in_numbers(*given, **parts):
    return [row | {"verdict": VERDICTS.index(row["verdict"])} for row in right(*given, **parts)]


@EXERCISE.wrong(stage="the numbers", says="The two nulls are swapped")
def swapped(*given, **parts):
    return right(*given, slip="swapped", **parts)


@EXERCISE.wrong(stage="the numbers", says="with something given")
def conditional(*given, **parts):
    return right(*given, slip="conditional", **parts)


@EXERCISE.wrong(stage="the numbers", says="experts that are no layer's")
def first_choices(*given, **parts):
    return right(*given, slip="first choice", **parts)


def _with_parts(given, parts, **others):
    return right(*given, **{**PARTS, **parts, **others})


@EXERCISE.wrong(stage="the numbers", says="neither the tokens nor all in one")
def dealt_within_the_domain(expert_ids, tokens, domains, n_deals, generator, **parts):
    deal = {**PARTS, **parts}["shuffled"]

    def shuffled(labels, given, random):
        return deal(labels, given if given.any() else domains, random)

    given = (expert_ids, tokens, domains, n_deals, generator)
    return _with_parts(given, parts, shuffled=shuffled)


@EXERCISE.wrong(stage="the numbers", says="the highest of their deals")
def the_highest_deal(*given, **parts):
    return right(*given, slip="highest", **parts)


@EXERCISE.wrong(stage="the numbers", says="The deals were added up")
def added_up(*given, **parts):
    n_deals, rows = given[3], right(*given, **parts)
    return [row | {key: n_deals * row[key] for key in KEYS[1:3]} for row in rows]


@EXERCISE.wrong(stage="the numbers", says="more deals than were asked for")
def one_deal_too_many(expert_ids, tokens, domains, n_deals, generator, **parts):
    return right(expert_ids, tokens, domains, n_deals + 1, generator, **parts)


@EXERCISE.wrong(stage="the numbers", says="Only the first deal was read")
def one_deal(expert_ids, tokens, domains, n_deals, generator, **parts):
    return right(expert_ids, tokens, domains, 1, generator, **parts)


@EXERCISE.wrong(stage="a new deal every time", says="A generator was made anew")
def a_generator_for_each_deal(*given, **parts):
    deal = {**PARTS, **parts}["shuffled"]

    def shuffled(labels, known, random):
        return deal(labels, known, torch.Generator().manual_seed(0))

    return _with_parts(given, parts, shuffled=shuffled)


@EXERCISE.wrong(stage="the verdict", says="who is not above chance is nothing")
def the_token_first(*given, **parts):
    return right(*given, slip="token first", **parts)


@EXERCISE.wrong(stage="a new deal every time", says="12 deals within the token")
def the_same_deals_for_all_layers(expert_ids, tokens, domains, n_deals, generator, **parts):
    parts = {**PARTS, **parts}
    kept = {}

    def shuffled(labels, given, random):
        kind = torch.equal(given, tokens)
        number = kept.setdefault(("number", kind), 0)
        kept["number", kind] = (number + 1) % n_deals
        if (number, kind) not in kept:
            kept[number, kind] = parts["shuffled"](labels, given, random)
        return kept[number, kind]

    return right(expert_ids, tokens, domains, n_deals, generator,
                 information=parts["information"], shuffled=shuffled)  # fmt: skip


@EXERCISE.wrong(stage="the verdict", says="above *every* deal")
def above_the_mean(*given, **parts):
    return right(*given, slip="mean", **parts)


@EXERCISE.wrong(stage="with your parts", says="With your own part `shuffled`, the answer to 11.2")
def brings_a_broken_deal(*given, **parts):
    parts.setdefault("shuffled", lambda labels, given, random: labels)
    return right(*given, **parts)


@EXERCISE.wrong(stage="with your parts", says="It raises TypeError")
def brings_a_measure_of_one(*given, **parts):
    parts.setdefault("information", lambda expert_ids: 0.0)
    return right(*given, **parts)


@EXERCISE.right
def with_the_courses_parts(*given, **parts):
    return right(*given, **parts)


@EXERCISE.right
def null_by_null(expert_ids, tokens, domains, n_deals, generator, **parts):
    parts = {**PARTS, **parts}
    measure, shuffled = parts["information"], parts["shuffled"]
    layers = range(expert_ids.shape[1])
    nulls = []
    for given in (tokens, torch.zeros_like(tokens)):
        table = [
            [measure(expert_ids[:, i], shuffled(domains, given, generator)) for i in layers]
            for _ in range(n_deals)
        ]
        nulls.append(torch.tensor(table, dtype=torch.float64))
    found = []
    for i in layers:
        told = float(measure(expert_ids[:, i], domains))
        token, chance = (null[:, i] for null in nulls)
        verdict = "nothing"
        if told > chance.max():
            verdict = "the token" if told <= token.max() else "more than the token"
        found.append({"verdict": verdict, "bits": told, "by the token": token.mean().item(),
                      "by chance": chance.mean().item()})  # fmt: skip
    return found
