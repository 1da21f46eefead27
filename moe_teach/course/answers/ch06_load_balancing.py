"""Chapter 06: plausible wrong answers, each with what it must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.course.answers._ch06_clinic import (  # noqa: F401 - found by name
    adds_a_bare_number,
    averages_the_other_axis,
    blames_the_loss_for_the_gate,
    by_reading_the_signs,
    calls_everybody_healthy,
    counts_the_first_column,
    detaches_the_gates,
    divides_by_the_tokens,
    forgets_the_coefficient,
    leaves_the_gate,
    lists_them,
    never_divides,
    one_by_one,
    sees_a_shared_expert,
    stops_after_the_first,
    suspects_the_coefficient,
    swaps_the_forgotten_and_the_detached,
    takes_noise_for_dropout,
    takes_the_wrong_axis_for_a_detached_loss,
    thinks_that_experts_choose,
    with_one_hot_in_float64,
    with_the_library,
    writes_small_letters,
    writes_spaces,
)
from moe_teach.course.answers._ch06_rules import (  # noqa: F401 - found by name
    adds_to_the_old_one,
    by_comparing_twice,
    by_counter_and_loops,
    by_numpy_histogram,
    by_one_hot_and_clamp,
    by_python_counting,
    calls_only_the_idle_dead,
    compares_with_the_median,
    counts_choices_as_tensors,
    counts_first_choices_of_the_bias,
    counts_the_living,
    difference_not_ratio,
    divides_by_the_living,
    entropy_in_nats,
    forgets_minlength_in_the_bias,
    forgets_minlength_in_the_report,
    forgets_minus_one,
    forgets_the_factor_of_the_limit,
    means_over_the_used,
    mixes_logarithms,
    only_lifts_the_idle,
    proportional_to_the_error,
    ratio_to_the_living,
    returns_the_step,
    reversed_sign,
    takes_log_of_zero,
    two_way_choice,
    writes_into_the_bias,
)
from moe_teach.judging.exercise import right, wrong

# --- 6.1 load_balance_loss --------------------------------------------------------------------


def _load(probs, expert_ids):
    counts = torch.bincount(expert_ids.flatten(), minlength=probs.shape[-1])
    return counts / expert_ids.numel()


@wrong("6.1", stage="a number", says="plain Python number")
def returns_a_float(probs, expert_ids):
    return (probs.shape[-1] * (_load(probs, expert_ids) * probs.mean(0)).sum()).item()


@wrong("6.1", stage="a number", says="still to be summed")
def keeps_the_experts(probs, expert_ids):
    return probs.shape[-1] * _load(probs, expert_ids) * probs.mean(0)


@wrong("6.1", stage="even is 1", says="k times too large")
def not_divided_by_k(probs, expert_ids):
    mask = one_hot(expert_ids, probs.shape[-1]).sum(dim=1).float()  # (T, E)
    return probs.shape[-1] * (mask.mean(0) * probs.mean(0)).sum()


@wrong("6.1", stage="even is 1", says="E times too small")
def forgets_the_number_of_experts(probs, expert_ids):
    return (_load(probs, expert_ids) * probs.mean(0)).sum()


@wrong("6.1", stage="even is 1", says="average the probabilities")
def sums_the_probabilities(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids) * probs.sum(0)).sum()


@wrong("6.1", stage="even is 1", says="a share, not a count")
def uses_bare_counts(probs, expert_ids):
    counts = torch.bincount(expert_ids.flatten(), minlength=probs.shape[-1])
    return probs.shape[-1] * (counts * probs.mean(0)).sum()


@wrong("6.1", stage="even is 1", says="not 0")
def squared_deviation_of_the_load(probs, expert_ids):
    fair = 1 / probs.shape[-1]
    return (_load(probs, expert_ids) - fair).square().sum() * probs.shape[-1] + 0 * probs.sum()


@wrong("6.1", stage="idle experts", says="`minlength=E`")
def forgets_minlength(probs, expert_ids):
    load = torch.bincount(expert_ids.flatten()) / expert_ids.numel()
    return probs.shape[-1] * (load * probs.mean(0)).sum()


@wrong("6.1", stage="value", says="Only the first choice")
def first_choice_only(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids[:, :1]) * probs.mean(0)).sum()


@wrong("6.1", stage="even is 1", says="multiplied with itself")
def probabilities_twice(probs, expert_ids):
    return probs.shape[-1] * probs.mean(0).square().sum()


@wrong("6.1", stage="even is 1", says="weighed by the gates")
def weighs_by_the_gates(probs, expert_ids):
    gates = probs.gather(1, expert_ids)
    summed = torch.zeros(probs.shape[-1]).index_add(0, expert_ids.flatten(), gates.flatten())
    return probs.shape[-1] * (summed / summed.sum() * probs.mean(0)).sum()


@wrong("6.1", stage="gradient", says="would never move the router")
def detaches_the_probabilities(probs, expert_ids):
    return probs.shape[-1] * (_load(probs, expert_ids) * probs.detach().mean(0)).sum()


@right("6.1")
def by_reading_the_mean_at_every_choice(probs, expert_ids):
    return probs.shape[-1] * probs.mean(0)[expert_ids].mean()


@right("6.1")
def by_one_hot_in_float64(probs, expert_ids):
    n_tokens, top_k = expert_ids.shape
    chosen = one_hot(expert_ids, probs.shape[-1]).double().sum(dim=(0, 1))
    return (chosen @ probs.double().sum(0)) * probs.shape[-1] / (n_tokens**2 * top_k)


@right("6.1")
def with_a_loop_over_experts(probs, expert_ids):
    total = probs.new_zeros(())
    for expert in range(probs.shape[1]):
        total = total + (expert_ids == expert).float().mean() * probs[:, expert].mean()
    return total * probs.shape[1]


# --- 6.2 router_z_loss ------------------------------------------------------------------------


@wrong("6.2", stage="a number", says="still to be summed")
def one_loss_per_token(logits):
    return logits.float().logsumexp(-1).square()


@wrong("6.2", stage="value", says="is not squared")
def forgets_the_square(logits):
    return logits.float().logsumexp(-1).mean()


@wrong("6.2", stage="value", says="Take the mean, or")
def sums_over_the_tokens(logits):
    return logits.float().logsumexp(-1).square().sum()


@wrong("6.2", stage="value", says="the mean was squared")
def squares_the_mean(logits):
    return logits.float().logsumexp(-1).mean().square()


@wrong("6.2", stage="value", says="ran over the tokens")
def sums_along_the_wrong_axis(logits):
    return logits.float().logsumexp(0).square().mean()


@wrong("6.2", stage="value", says="the squared logits themselves")
def squares_the_logits(logits):
    return logits.float().square().mean()


@wrong("6.2", stage="value", says="no softmax before")
def takes_probabilities(logits):
    return logits.float().softmax(-1).logsumexp(-1).square().mean()


@wrong("6.2", stage="value", says="leaves no trace")
def takes_log_probabilities(logits):
    return logits.float().log_softmax(-1).square().mean()


@wrong("6.2", stage="large logits", says="overflow")
def overflows(logits):
    return logits.float().exp().sum(-1).log().square().mean()


@wrong("6.2", stage="float32", says="turned to float32 first")
def computes_in_bfloat16(logits):
    return logits.logsumexp(-1).square().mean()


@wrong("6.2", stage="gradient", says="nothing would shrink")
def under_no_grad(logits):
    with torch.no_grad():
        return logits.float().logsumexp(-1).square().mean()


@right("6.2")
def by_subtracting_the_maximum(logits):
    precise = logits.float()
    top = precise.amax(-1, keepdim=True)
    log_total = (precise - top).exp().sum(-1).log() + top[:, 0]
    return (log_total**2).sum() / len(logits)


@right("6.2")
def in_float64_token_by_token(logits):
    totals = [torch.logsumexp(row, dim=0) ** 2 for row in logits.double()]
    return torch.stack(totals).mean()


@right("6.2")
def by_what_log_softmax_takes_away(logits):
    precise = logits.float()
    return (precise - precise.log_softmax(-1))[:, 0].pow(2).mean()
