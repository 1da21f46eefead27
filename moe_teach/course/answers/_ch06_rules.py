"""Chapter 06, exercises 6.3 and 6.4: wrong and other right answers about counting a load."""

import math
from collections import Counter

import numpy as np
import torch
from torch.nn.functional import one_hot

from moe_teach.judging.exercise import right, wrong

# --- 6.3 bias_update --------------------------------------------------------------------------


def _counts(bias, expert_ids):
    return torch.bincount(expert_ids.flatten(), minlength=len(bias)).float()


@wrong("6.3", stage="idle experts", says="the ones this rule is for")
def forgets_minlength_in_the_bias(expert_bias, expert_ids, rate):
    counts = torch.bincount(expert_ids.flatten()).float()
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@wrong("6.3", stage="idle experts", says="in place")
def writes_into_the_bias(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    expert_bias += rate * torch.sign(counts.mean() - counts)
    return expert_bias


@wrong("6.3", stage="at the mean", says="Nothing is left of the old bias")
def returns_the_step(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return rate * torch.sign(counts.mean() - counts)


@wrong("6.3", stage="at the mean", says="has no third way")
def two_way_choice(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return torch.where(counts < counts.mean(), expert_bias + rate, expert_bias - rate)


@wrong("6.3", stage="step", says="collapse by design")
def reversed_sign(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * torch.sign(counts - counts.mean())


@wrong("6.3", stage="step", says="The step grows with the error. In")
def proportional_to_the_error(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * (counts.mean() - counts)


@wrong("6.3", stage="step", says="grows with the error in the load")
def adds_to_the_old_one(expert_bias, expert_ids, rate):
    load = _counts(expert_bias, expert_ids) / expert_ids.numel()
    return expert_bias + rate * (1 / len(expert_bias) - load)


@wrong("6.3", stage="step", says="Only the first choice")
def counts_first_choices_of_the_bias(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids[:, 0])
    return expert_bias + rate * torch.sign(counts.mean() - counts)


@wrong("6.3", stage="step", says="over the experts that were chosen")
def means_over_the_used(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    even = (counts == counts.mean()).all()
    return expert_bias + (0 if even else rate) * torch.sign(counts[counts > 0].mean() - counts)


@wrong("6.3", stage="step", says="those above it stay")
def only_lifts_the_idle(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * (counts < counts.mean())


@wrong("6.3", stage="step", says="compared with their median")
def compares_with_the_median(expert_bias, expert_ids, rate):
    counts = _counts(expert_bias, expert_ids)
    return expert_bias + rate * torch.sign(counts.median() - counts)


@right("6.3")
def by_comparing_twice(expert_bias, expert_ids, rate):
    counts = one_hot(expert_ids, len(expert_bias)).sum(dim=(0, 1))
    fair = expert_ids.numel() / len(expert_bias)
    return expert_bias + rate * (counts < fair).float() - rate * (counts > fair).float()


@right("6.3")
def by_python_counting(expert_bias, expert_ids, rate):
    seen = Counter(expert_ids.flatten().tolist())
    moved = []
    for expert, old in enumerate(expert_bias.tolist()):
        error = expert_ids.numel() - seen[expert] * len(expert_bias)  # in whole numbers
        moved.append(old + rate * ((error > 0) - (error < 0)))
    return torch.tensor(moved)


@right("6.3")
def by_one_hot_and_clamp(expert_bias, expert_ids, rate):
    counts = one_hot(expert_ids.flatten(), len(expert_bias)).sum(0)
    errors = expert_ids.numel() - counts * len(expert_bias)
    return expert_bias.double() + rate * errors.clamp(-1, 1)


# --- 6.4 balance_report -----------------------------------------------------------------------


def _report(expert_ids, n_experts, **changed):
    load = torch.bincount(expert_ids.flatten(), minlength=n_experts).double() / expert_ids.numel()
    entropy = float(torch.special.entr(load).sum()) / math.log(n_experts) if n_experts > 1 else 1.0
    right_ones = {
        "max_violation": float(load.max() * n_experts - 1),
        "entropy": entropy,
        "dead": int((load < 0.1 / n_experts).sum()),
    }
    return right_ones | {name: rule(load) for name, rule in changed.items()}


@wrong("6.4", stage="a dictionary", says="Plain Python numbers")
def counts_choices_as_tensors(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: (load < 0.1 / n_experts).sum())


@wrong("6.4", stage="idle experts", says="`minlength=n_experts`")
def forgets_minlength_in_the_report(expert_ids, n_experts):
    counts = torch.bincount(expert_ids.flatten()).double()
    fair = torch.full((n_experts,), 1 / n_experts)
    over = counts / counts.sum() / fair
    return _report(expert_ids, n_experts, max_violation=lambda load: float(over.max() - 1))


@wrong("6.4", stage="idle experts", says="0 * log(0)")
def takes_log_of_zero(expert_ids, n_experts):
    return _report(expert_ids, n_experts, entropy=lambda f: float(-(f * f.log()).sum()))


@wrong("6.4", stage="max_violation", says="is that minus 1")
def forgets_minus_one(expert_ids, n_experts):
    return _report(expert_ids, n_experts, max_violation=lambda f: float(f.max() * n_experts))


@wrong("6.4", stage="max_violation", says="a difference shrinks as experts become more")
def difference_not_ratio(expert_ids, n_experts):
    return _report(expert_ids, n_experts, max_violation=lambda f: float(f.max() - f.mean()))


@wrong("6.4", stage="max_violation", says="The idle ones belong to it")
def ratio_to_the_living(expert_ids, n_experts):
    def violation(load):
        return float(load.max() / load[load > 0].mean() - 1)

    return _report(expert_ids, n_experts, max_violation=violation)


@wrong("6.4", stage="entropy", says="A single expert is even")
def entropy_in_nats(expert_ids, n_experts):
    return _report(expert_ids, n_experts, entropy=lambda f: float(torch.special.entr(f).sum()))


@wrong("6.4", stage="entropy", says="one of base 2")
def mixes_logarithms(expert_ids, n_experts):
    def entropy(load):
        return float(torch.special.entr(load).sum()) / math.log2(n_experts) if n_experts > 1 else 1

    return _report(expert_ids, n_experts, entropy=entropy)


@wrong("6.4", stage="entropy", says="that have tokens")
def divides_by_the_living(expert_ids, n_experts):
    def entropy(load):
        alive = int((load > 0).sum())
        return float(torch.special.entr(load).sum()) / math.log(alive) if alive > 1 else 1.0

    return _report(expert_ids, n_experts, entropy=entropy)


@wrong("6.4", stage="dead", says="Only experts without any token")
def calls_only_the_idle_dead(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load == 0).sum()))


@wrong("6.4", stage="dead", says="not a tenth of all choices")
def forgets_the_factor_of_the_limit(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load < 0.1).sum()))


@wrong("6.4", stage="dead", says="Count those below")
def counts_the_living(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load >= 0.1 / n_experts).sum()))


@right("6.4")
def by_numpy_histogram(expert_ids, n_experts):
    counts = np.bincount(expert_ids.numpy().ravel(), minlength=n_experts)
    load = counts / counts.sum()
    some = load[load > 0]
    entropy = -(some * np.log2(some)).sum() / np.log2(n_experts) if n_experts > 1 else 1.0
    return {
        "max_violation": float((load.max() - load.mean()) / load.mean()),
        "entropy": float(entropy),
        "dead": int(np.count_nonzero(load * n_experts < 0.1)),
    }


@right("6.4")
def by_counter_and_loops(expert_ids, n_experts):
    seen = Counter(expert_ids.flatten().tolist())
    fair = expert_ids.numel() / n_experts
    shares = [count / expert_ids.numel() for count in seen.values()]
    nats = -sum(share * math.log(share) for share in shares)
    return {
        "max_violation": max(seen.values()) / fair - 1,
        "entropy": nats / math.log(n_experts) if n_experts > 1 else 1.0,
        "dead": sum(seen[expert] * 10 < fair for expert in range(n_experts)),
    }
