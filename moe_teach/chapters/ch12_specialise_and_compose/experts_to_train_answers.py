"""Exercise 12.2: wrong answers with what they must be told, and other right ones."""

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
