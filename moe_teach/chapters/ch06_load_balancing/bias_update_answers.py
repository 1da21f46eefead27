"""Exercise 6.3: wrong answers with what they must be told, and other right ones."""

from collections import Counter

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch06_load_balancing.bias_update import EXERCISE


def _counts(bias, expert_ids):
    return torch.bincount(expert_ids.flatten(), minlength=len(bias)).float()


@EXERCISE.wrong(stage="idle experts", says="the ones this rule is for")
def forgets_minlength_in_the_bias(expert_bias, expert_ids, rate):
    counts = torch.bincount(expert_ids.flatten()).float()
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@EXERCISE.wrong(stage="idle experts", says="in place")
def writes_into_the_bias(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    expert_bias += rate * torch.sign(counts.mean() - counts)
    return expert_bias


@EXERCISE.wrong(stage="at the mean", says="Nothing is left of the old bias")
def returns_the_step(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return rate * torch.sign(counts.mean() - counts)


@EXERCISE.wrong(stage="at the mean", says="has no third way")
def two_way_choice(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return torch.where(counts < counts.mean(), expert_bias + rate, expert_bias - rate)


@EXERCISE.wrong(stage="step", says="collapse by design")
def reversed_sign(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * torch.sign(counts - counts.mean())


@EXERCISE.wrong(stage="step", says="The step grows with the error. In")
def proportional_to_the_error(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * (counts.mean() - counts)


@EXERCISE.wrong(stage="step", says="grows with the error in the load")
def adds_to_the_old_one(expert_bias, expert_ids, rate):
    load = _counts(expert_bias, expert_ids) / expert_ids.numel()
    return expert_bias + rate * (1 / len(expert_bias) - load)


@EXERCISE.wrong(stage="step", says="Only the first choice")
def counts_first_choices_of_the_bias(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids[:, 0])
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@EXERCISE.wrong(stage="step", says="over the experts that were chosen")
def means_over_the_used(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    even = (counts == counts.mean()).all()
    return expert_bias + (0 if even else rate) * torch.sign(counts[counts > 0].mean() - counts)


@EXERCISE.wrong(stage="step", says="those above it stay")
def only_lifts_the_idle(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * (counts < counts.mean())


@EXERCISE.wrong(stage="step", says="compared with their median")
def compares_with_the_median(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * torch.sign(counts.median() - counts)


@EXERCISE.wrong(stage="step", says="An expert exactly at the mean went down")
def has_a_third_way_for_all_or_nobody(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    if (counts == counts.mean()).all():
        return expert_bias.clone()
    return torch.where(counts < counts.mean(), expert_bias + rate, expert_bias - rate)


@EXERCISE.wrong(stage="step", says="cannot tell 2048 from 2049")
def counts_in_half_precision(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids).half()
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@EXERCISE.wrong(stage="at the mean", says="the old tensor itself")
def returns_the_old_bias_where_nothing_moves(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    if (counts == counts[0]).all():
        return expert_bias
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@EXERCISE.wrong(stage="at the mean", says="A mean of shares may be rounded away")
def compares_shares_with_their_mean(expert_bias, expert_ids, rate):
    shares = _counts(expert_bias, expert_ids) / expert_ids.numel()
    return expert_bias + rate * torch.sign(shares.mean() - shares)


@EXERCISE.wrong(stage="step", says="sixteen bits hold")
def counts_in_sixteen_bits(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids).short().float()
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@EXERCISE.right
def by_the_load(expert_bias, expert_ids, rate):
    load = _counts(expert_bias, expert_ids) / expert_ids.numel()
    with torch.no_grad():
        return expert_bias + rate * torch.sign(1 / len(expert_bias) - load)


@EXERCISE.right
def by_comparing_twice(expert_bias, expert_ids, rate):
    counts = one_hot(expert_ids, len(expert_bias)).sum(dim=(0, 1))
    fair = expert_ids.numel() / len(expert_bias)
    return expert_bias + rate * (counts < fair).float() - rate * (counts > fair).float()


@EXERCISE.right
def by_python_counting(expert_bias, expert_ids, rate):
    seen = Counter(expert_ids.flatten().tolist())
    moved = []
    for expert, old in enumerate(expert_bias.tolist()):
        error = expert_ids.numel() - seen[expert] * len(expert_bias)  # in whole numbers
        moved.append(old + rate * ((error > 0) - (error < 0)))
    return torch.tensor(moved)


@EXERCISE.right
def by_one_hot_and_clamp(expert_bias, expert_ids, rate):
    counts = one_hot(expert_ids.flatten(), len(expert_bias)).sum(0)
    errors = expert_ids.numel() - counts * len(expert_bias)
    return expert_bias.double() + rate * errors.clamp(-1, 1)
