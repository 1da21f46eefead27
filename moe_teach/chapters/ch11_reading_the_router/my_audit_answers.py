"""Exercise 11.7: audits that judge by something else, and other right ones."""

import torch

from moe_teach.chapters.ch11_reading_the_router.my_audit import EXERCISE, PARTS, VERDICTS, right


@EXERCISE.wrong(stage="what comes back", says="these four names")
def one_dictionary(*given, **parts):
    return right(*given, **parts)[0]


@EXERCISE.wrong(stage="what comes back", says="none of the three")
def verdict_in_numbers(*given, **parts):
    return [row | {"verdict": VERDICTS.index(row["verdict"])} for row in right(*given, **parts)]


@EXERCISE.wrong(stage="the numbers", says="The two nulls are swapped")
def swapped(*given, **parts):
    return right(*given, slip="swapped", **parts)


@EXERCISE.wrong(stage="the numbers", says="with the token given, and the bits")
def conditional(*given, **parts):
    return right(*given, slip="conditional", **parts)


@EXERCISE.wrong(stage="the numbers", says="Only the first choices")
def first_choices(*given, **parts):
    return right(*given, slip="first choice", **parts)


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
