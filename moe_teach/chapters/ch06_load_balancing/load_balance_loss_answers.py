"""Exercise 6.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch06_load_balancing.load_balance_loss import EXERCISE


def _counts(probs, expert_ids, earlier=None):
    counts = torch.bincount(expert_ids.flatten(), minlength=probs.shape[-1])
    return counts if earlier is None else counts + earlier


def _load(probs, expert_ids, earlier=None):
    counts = _counts(probs, expert_ids, earlier)
    return counts / counts.sum().clamp_min(1)


def _real(probs, expert_ids, real):
    return (probs, expert_ids) if real is None else (probs[real], expert_ids[real])


def _mean(probs):
    return probs.sum(0) / max(len(probs), 1)


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


@EXERCISE.wrong(stage="padding", says="nan times 0 is nan")
def multiplies_padding_by_zero(probs, expert_ids, real=None, earlier=None):
    real = torch.ones(len(probs), dtype=torch.bool) if real is None else real
    mean = (probs * real[:, None]).sum(0) / real.sum().clamp_min(1)
    return probs.shape[-1] * (_load(probs, expert_ids[real], earlier) * mean).sum()


@EXERCISE.wrong(stage="padding", says="divided by all T positions")
def divides_the_mean_by_all_positions(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    return probs.shape[-1] * (_load(own, ids, earlier) * own.sum(0) / len(probs)).sum()


@EXERCISE.wrong(stage="padding", says="The choices of padded positions were counted")
def counts_the_choices_of_padding(probs, expert_ids, real=None, earlier=None):
    own, _ = _real(probs, expert_ids, real)
    return probs.shape[-1] * (_load(probs, expert_ids, earlier) * _mean(own)).sum()


@EXERCISE.wrong(stage="padding alone", says="must cost 0")
def is_not_a_number_without_tokens(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    return probs.shape[-1] * (_load(own, ids, earlier) * own.mean(0)).sum()


@EXERCISE.wrong(stage="earlier choices", says="`earlier` changed nothing")
def ignores_what_was_before(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    return probs.shape[-1] * (_load(own, ids) * _mean(own)).sum()


@EXERCISE.wrong(stage="earlier choices", says="Two loads were averaged")
def averages_the_loads(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    load = _load(own, ids)
    if earlier is not None:
        load = (load + earlier / earlier.sum()) / 2
    return probs.shape[-1] * (load * _mean(own)).sum()


@EXERCISE.wrong(stage="earlier choices", says="of the earlier micro-batches alone")
def takes_the_earlier_load_alone(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    load = _load(own, ids) if earlier is None else earlier / earlier.sum()
    return probs.shape[-1] * (load * _mean(own)).sum()


@EXERCISE.wrong(stage="gradient of real batches", says="its gradient is zero everywhere")
def detaches_real_batches(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    mean = _mean(own) if real is None else _mean(own).detach() + 0 * own.sum(0)
    return probs.shape[-1] * (_load(own, ids, earlier) * mean).sum()


@EXERCISE.right
def keeps_an_axis(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    load = _load(own, ids, earlier)[None]
    return probs.shape[-1] * (load * _mean(own)[None]).sum(1)


@EXERCISE.right
def by_reading_the_sum_at_every_choice(probs, expert_ids, real=None, earlier=None):
    own, ids = _real(probs, expert_ids, real)
    sums, n_choices = own.sum(0), ids.numel()
    total = sums[ids].sum()
    if earlier is not None:
        total, n_choices = total + (sums * earlier).sum(), n_choices + int(earlier.sum())
    return probs.shape[-1] * total / max(len(own) * n_choices, 1)


@EXERCISE.right
def by_one_hot_in_float64(probs, expert_ids, real=None, earlier=None):
    keep = torch.ones(len(probs)) if real is None else real.double()
    chosen = one_hot(expert_ids, probs.shape[-1]).double().sum(dim=1)
    counts = keep.double() @ chosen + (0 if earlier is None else earlier.double())
    clean = probs.double().masked_fill(keep[:, None] == 0, 0.0)
    n_tokens, n_choices = keep.sum().clamp_min(1), counts.sum().clamp_min(1)
    return (counts @ clean.sum(0)) * probs.shape[-1] / (n_tokens * n_choices)


@EXERCISE.right
def with_a_loop_over_experts(probs, expert_ids, real=None, earlier=None):
    rows = range(len(probs)) if real is None else real.nonzero().flatten().tolist()
    own, ids = probs[list(rows)], expert_ids[list(rows)]
    total, n_choices = probs.new_zeros(()), ids.numel()
    for expert in range(probs.shape[1]):
        count = (ids == expert).sum()
        if earlier is not None:
            count, n_choices = count + earlier[expert], n_choices + int(earlier[expert])
        total = total + count * own[:, expert].sum()
    return total * probs.shape[1] / max(len(own) * n_choices, 1)
