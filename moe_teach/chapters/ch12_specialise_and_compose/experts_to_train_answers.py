"""Exercise 12.2: wrong answers with what they must be told, and other right ones."""

import itertools

import torch

from moe_teach.chapters.ch12_specialise_and_compose.experts_to_train import EXERCISE


def _answer(gates, expert_ids, real, n_experts, share, *, largest=True, late=False):
    gates, ids = gates[real].flatten(), expert_ids[real].flatten()
    scores = torch.zeros(n_experts).index_add(0, ids, gates)
    order = scores.argsort(descending=largest, stable=True)
    running = scores[order].cumsum(0)
    before = running if late else running - scores[order]
    return sorted(order[before < share * scores.sum()].tolist())


@EXERCISE.wrong(stage="the set", says="Padding had a say")
def asks_padding(gates, expert_ids, real, n_experts, share):
    return _answer(gates, expert_ids, torch.ones_like(real), n_experts, share)


@EXERCISE.wrong(stage="the set", says="Choices were counted")
def counts_choices(gates, expert_ids, real, n_experts, share):
    return _answer(torch.ones_like(gates), expert_ids, real, n_experts, share)


@EXERCISE.wrong(stage="the set", says="Together they do less than the share")
def leaves_out_whoever_reaches_the_share(**given):
    return _answer(**given, late=True)


@EXERCISE.wrong(stage="the set", says="Those who work least came first")
def takes_the_least(**given):
    return _answer(**given, largest=False)


@EXERCISE.wrong(stage="the set", says="a list of plain integers")
def hands_back_a_tensor(**given):
    return torch.tensor(_answer(**given))


@EXERCISE.wrong(stage="exactly enough", says="Fewer would have been enough")
def goes_on_at_equality(gates, expert_ids, real, n_experts, share):
    return _answer(gates, expert_ids, real, n_experts, share + 1e-4)


def _chosen(scores, reached):
    """Take the best until `reached`, given scores by expert."""
    order = scores.argsort(descending=True, stable=True)
    before = scores[order].cumsum(0) - scores[order]
    return sorted(order[before < reached].tolist())


def _scores(gates, expert_ids, real, n_experts):
    ids = expert_ids[real].flatten()
    return torch.zeros(n_experts).index_add(0, ids, gates[real].flatten())


@EXERCISE.wrong(stage="the set", says="The share was taken of all gates, padding's too")
def takes_the_share_of_all_gates(gates, expert_ids, real, n_experts, share):
    return _chosen(_scores(gates, expert_ids, real, n_experts), share * gates.sum())


@EXERCISE.wrong(stage="the set", says="Gates were averaged over the tokens that chose")
def averages_over_those_who_chose(gates, expert_ids, real, n_experts, share):
    counts = expert_ids[real].flatten().bincount(minlength=n_experts)
    means = _scores(gates, expert_ids, real, n_experts) / counts.clamp(min=1)
    return _chosen(means, share * means.sum())


@EXERCISE.wrong(stage="the set", says="The share was taken of the number of tokens")
def takes_the_share_of_tokens(gates, expert_ids, real, n_experts, share):
    return _chosen(_scores(gates, expert_ids, real, n_experts), share * real.sum())


@EXERCISE.wrong(stage="the set", says="a share of the experts")
def takes_a_share_of_the_experts(gates, expert_ids, real, n_experts, share):
    scores = _scores(gates, expert_ids, real, n_experts)
    return sorted(scores.topk(max(1, round(share * n_experts))).indices.tolist())


@EXERCISE.wrong(stage="the set", says="compared with the share by itself")
def compares_each_with_the_share(gates, expert_ids, real, n_experts, share):
    scores = _scores(gates, expert_ids, real, n_experts)
    return (scores >= share * scores.sum()).nonzero().flatten().tolist()


@EXERCISE.wrong(stage="the set", says="in another order")
def orders_by_score(**given):
    scores = _scores(*list(given.values())[:4])
    return sorted(_answer(**given), key=lambda e: -float(scores[e]))


@EXERCISE.wrong(stage="the set", says="not with the largest scores")
def takes_the_first_set_that_is_enough(**given):
    scores = _scores(*list(given.values())[:4]).tolist()
    size = len(_answer(**given))
    enough = given["share"] * sum(scores)
    sets = itertools.combinations(range(len(scores)), size)
    return list(next(s for s in sets if sum(scores[e] for e in s) >= enough))


@EXERCISE.wrong(stage="the set", says="changed its input `gates` in place")
def empties_the_gates_of_padding(gates, expert_ids, real, n_experts, share):
    gates[~real] = 0.0
    return _answer(gates, expert_ids, real, n_experts, share)


@EXERCISE.wrong(stage="exactly enough", says="the smaller number comes first")
def turns_an_ascending_sort_round(gates, expert_ids, real, n_experts, share):
    scores = _scores(gates, expert_ids, real, n_experts)
    order = scores.argsort(stable=True).flip(0)
    before = scores[order].cumsum(0) - scores[order]
    return sorted(order[before < share * scores.sum()].tolist())


@EXERCISE.right
def one_by_one(gates, expert_ids, real, n_experts, share):
    scores = [float((gates * (expert_ids == e) * real[:, None]).sum()) for e in range(n_experts)]
    kept = []
    while sum(scores[e] for e in kept) < share * sum(scores):
        kept.append(max((e for e in range(n_experts) if e not in kept), key=scores.__getitem__))
    return sorted(kept)


@EXERCISE.right
def with_one_hot(gates, expert_ids, real, n_experts, share):
    chosen = torch.nn.functional.one_hot(expert_ids, n_experts).double()
    scores = (chosen * (gates * real[:, None])[..., None]).sum((0, 1)) / real.sum()
    values, order = scores.sort(descending=True, stable=True)
    n_before = int((values.cumsum(0) < share * scores.sum() - 1e-12).sum())
    return sorted(order[: n_before + 1].tolist())
