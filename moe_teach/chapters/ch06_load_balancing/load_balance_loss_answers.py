"""Exercise 6.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch06_load_balancing.load_balance_loss import EXERCISE


def _load(probs, expert_ids):
    counts = torch.bincount(expert_ids.flatten(), minlength=probs.shape[-1])
    return counts / expert_ids.numel()


@EXERCISE.wrong(stage="a number", says="plain Python number")
def returns_a_float(probs, expert_ids):
    return (probs.shape[-1] * (_load(probs, expert_ids) * probs.mean(0)).sum()).item()


@EXERCISE.wrong(stage="a number", says="nothing was summed")
def keeps_the_experts(probs, expert_ids):
    return probs.shape[-1] * _load(probs, expert_ids) * probs.mean(0)


@EXERCISE.wrong(stage="even is 1", says="k times too large")
def not_divided_by_k(probs, expert_ids):
    mask = one_hot(expert_ids, probs.shape[-1]).sum(dim=1).float()  # (T, E)
    return probs.shape[-1] * (mask.mean(0) * probs.mean(0)).sum()


@EXERCISE.wrong(stage="even is 1", says="E times too small")
def forgets_the_number_of_experts(probs, expert_ids):
    return (_load(probs, expert_ids) * probs.mean(0)).sum()


@EXERCISE.wrong(stage="even is 1", says="the probabilities were summed")
def sums_the_probabilities(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids) * probs.sum(0)).sum()


@EXERCISE.wrong(stage="even is 1", says="a share, not a count")
def uses_bare_counts(probs, expert_ids):
    counts = torch.bincount(expert_ids.flatten(), minlength=probs.shape[-1])
    return probs.shape[-1] * (counts * probs.mean(0)).sum()


@EXERCISE.wrong(stage="even is 1", says="not 0")
def squared_deviation_of_the_load(probs, expert_ids):
    fair = 1 / probs.shape[-1]
    return (_load(probs, expert_ids) - fair).square().sum() * probs.shape[-1] + 0 * probs.sum()


@EXERCISE.wrong(stage="idle experts", says="`minlength=E`")
def forgets_minlength(probs, expert_ids):
    load = torch.bincount(expert_ids.flatten()) / expert_ids.numel()
    return probs.shape[-1] * (load * probs.mean(0)).sum()


@EXERCISE.wrong(stage="value", says="Only the first choice")
def first_choice_only(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids[:, :1]) * probs.mean(0)).sum()


@EXERCISE.wrong(stage="even is 1", says="multiplied with itself")
def probabilities_twice(probs, expert_ids):
    return probs.shape[-1] * probs.mean(0).square().sum()


@EXERCISE.wrong(stage="even is 1", says="weighed by the gates")
def weighs_by_the_gates(probs, expert_ids):
    gates = probs.gather(1, expert_ids)
    summed = torch.zeros(probs.shape[-1]).index_add(0, expert_ids.flatten(), gates.flatten())
    return probs.shape[-1] * (summed / summed.sum() * probs.mean(0)).sum()


@EXERCISE.wrong(stage="gradient", says="The result carries no gradient")
def detaches_the_probabilities(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids) * probs.detach().mean(0)).sum()


@EXERCISE.wrong(stage="gradient", says="the gradient of `probs` is another one")
def detaches_every_second_token(probs, expert_ids):
    shares = torch.cat([probs[::2], probs[1::2].detach()])
    return probs.shape[-1] * (_load(probs, expert_ids) * shares.mean(0)).sum()


@EXERCISE.wrong(stage="value", says="Even routing is right and uneven routing is not")
def counts_experts_that_are_used(probs, expert_ids):
    used = torch.zeros(probs.shape[-1])
    used[expert_ids.flatten()] = 1.0
    return probs.shape[-1] * (used / used.sum() * probs.mean(0)).sum()


@EXERCISE.right
def keeps_an_axis(probs, expert_ids):
    load = _load(probs, expert_ids)[None]
    return probs.shape[-1] * (load * probs.mean(0, keepdim=True)).sum(1)


@EXERCISE.right
def by_reading_the_mean_at_every_choice(probs, expert_ids):
    return probs.shape[-1] * probs.mean(0)[expert_ids].mean()


@EXERCISE.right
def by_one_hot_in_float64(probs, expert_ids):
    n_tokens, top_k = expert_ids.shape
    chosen = one_hot(expert_ids, probs.shape[-1]).double().sum(dim=(0, 1))
    return (chosen @ probs.double().sum(0)) * probs.shape[-1] / (n_tokens**2 * top_k)


@EXERCISE.right
def with_a_loop_over_experts(probs, expert_ids):
    total = probs.new_zeros(())
    for expert in range(probs.shape[1]):
        total = total + (expert_ids == expert).float().mean() * probs[:, expert].mean()
    return total * probs.shape[1]
