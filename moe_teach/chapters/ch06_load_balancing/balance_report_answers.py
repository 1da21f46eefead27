"""Exercise 6.4: wrong answers with what they must be told, and other right ones."""

import math
from collections import Counter

import numpy as np
import torch

from moe_teach.chapters.ch06_load_balancing.balance_report import EXERCISE


def _report(expert_ids, n_experts, **changed):
    load = torch.bincount(expert_ids.flatten(), minlength=n_experts).double() / expert_ids.numel()
    entropy = float(torch.special.entr(load).sum()) / math.log(n_experts) if n_experts > 1 else 1.0
    right_ones = {
        "max_violation": float(load.max() * n_experts - 1),
        "entropy": entropy,
        "dead": int((load < 0.1 / n_experts).sum()),
    }
    return right_ones | {name: rule(load) for name, rule in changed.items()}


@EXERCISE.wrong(stage="a dictionary", says="not plain Python numbers")
def counts_choices_as_tensors(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: (load < 0.1 / n_experts).sum())


@EXERCISE.wrong(stage="idle experts", says="`minlength=n_experts`")
def forgets_minlength_in_the_report(expert_ids, n_experts):
    counts = torch.bincount(expert_ids.flatten()).double()
    fair = torch.full((n_experts,), 1 / n_experts)
    over = counts / counts.sum() / fair
    return _report(expert_ids, n_experts, max_violation=lambda load: float(over.max() - 1))


@EXERCISE.wrong(stage="idle experts", says="0 * log(0)")
def takes_log_of_zero(expert_ids, n_experts):
    return _report(expert_ids, n_experts, entropy=lambda f: float(-(f * f.log()).sum()))


@EXERCISE.wrong(stage="max_violation", says="is that minus 1")
def forgets_minus_one(expert_ids, n_experts):
    return _report(expert_ids, n_experts, max_violation=lambda f: float(f.max() * n_experts))


@EXERCISE.wrong(stage="max_violation", says="which shrinks as experts become more")
def difference_not_ratio(expert_ids, n_experts):
    return _report(expert_ids, n_experts, max_violation=lambda f: float(f.max() - f.mean()))


@EXERCISE.wrong(stage="max_violation", says="The idle ones belong to it")
def ratio_to_the_living(expert_ids, n_experts):
    def violation(load):
        return float(load.max() / load[load > 0].mean() - 1)

    return _report(expert_ids, n_experts, max_violation=violation)


@EXERCISE.wrong(stage="entropy", says="A single expert is even")
def entropy_in_nats(expert_ids, n_experts):
    return _report(expert_ids, n_experts, entropy=lambda f: float(torch.special.entr(f).sum()))


@EXERCISE.wrong(stage="entropy", says="one of base 2")
def mixes_logarithms(expert_ids, n_experts):
    def entropy(load):
        return float(torch.special.entr(load).sum()) / math.log2(n_experts) if n_experts > 1 else 1

    return _report(expert_ids, n_experts, entropy=entropy)


@EXERCISE.wrong(stage="entropy", says="that have tokens")
def divides_by_the_living(expert_ids, n_experts):
    def entropy(load):
        alive = int((load > 0).sum())
        return float(torch.special.entr(load).sum()) / math.log(alive) if alive > 1 else 1.0

    return _report(expert_ids, n_experts, entropy=entropy)


@EXERCISE.wrong(stage="dead", says="Only experts without any token")
def calls_only_the_idle_dead(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load == 0).sum()))


@EXERCISE.wrong(stage="dead", says="a tenth of all choices here")
def forgets_the_factor_of_the_limit(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load < 0.1).sum()))


@EXERCISE.wrong(stage="dead", says="Count those below")
def counts_the_living(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load >= 0.1 / n_experts).sum()))


@EXERCISE.wrong(stage="dead", says="exactly a tenth of the fair share was called dead")
def counts_the_border(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load <= 0.1 / n_experts).sum()))


@EXERCISE.wrong(stage="dead", says="is not how many experts have less than")
def takes_a_fifth(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load < 0.2 / n_experts).sum()))


@EXERCISE.wrong(stage="dead", says="of the busiest expert's load")
def takes_a_tenth_of_the_busiest(expert_ids, n_experts):
    return _report(expert_ids, n_experts, dead=lambda load: int((load < 0.1 * load.max()).sum()))


@EXERCISE.wrong(stage="max_violation", says="MaxVio looks up only")
def looks_to_both_sides(expert_ids, n_experts):
    counts = torch.bincount(expert_ids.flatten(), minlength=n_experts)
    furthest = float((counts / counts.sum() * n_experts - 1).abs().max())
    return {**_report(expert_ids, n_experts), "max_violation": furthest}


@EXERCISE.wrong(stage="dead", says="compared with a share of the tokens")
def counts_dead_by_tokens(expert_ids, n_experts):
    limit = 0.1 / n_experts / expert_ids.shape[1]
    return _report(expert_ids, n_experts, dead=lambda load: int((load < limit).sum()))


@EXERCISE.right
def in_float32(expert_ids, n_experts):
    load = torch.nn.functional.one_hot(expert_ids, n_experts).float().mean((0, 1))
    relative = load * n_experts
    logs = torch.where(load > 0, load, 1.0).log() / math.log(max(n_experts, 2))
    return {
        "max_violation": (relative.max() - 1).item(),
        "entropy": 1 if n_experts == 1 else -(load * logs).sum().item(),
        "dead": (relative < 0.1).sum().item(),
    }


@EXERCISE.right
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


@EXERCISE.right
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
