"""Exercise 6.4: wrong answers with what they must be told, and other right ones."""

import math

import numpy as np
import torch

from moe_teach.chapters.ch06_load_balancing.balance_report import EXERCISE


def _report(counts, **changed):
    """Report as asked, but for the numbers that `changed` gives another rule of (load, loads)."""
    rows = counts[counts.sum(dim=1) > 0].double()
    load, loads = rows.sum(0) / rows.sum(), rows / rows.sum(1, keepdim=True)
    n_experts = len(load)
    entropy = float(torch.special.entr(load).sum()) / math.log(n_experts) if n_experts > 1 else 1.0
    dead = load < 0.1 / n_experts
    often = (loads < 0.1 / n_experts).double().mean(0) > 0.5
    right_ones = {
        "max_violation": float(load.max() * n_experts - 1),
        "step_violation": float((loads.amax(1) * n_experts - 1).mean()),
        "entropy": entropy,
        "dead": int(dead.sum()),
        "resting": int((often & ~dead).sum()),
    }
    return right_ones | {name: rule(load, loads) for name, rule in changed.items()}


@EXERCISE.wrong(stage="a dictionary", says="not plain Python numbers")
def counts_the_dead_as_a_tensor(counts):
    return _report(counts, dead=lambda load, loads: (load < 0.1 / len(load)).sum())


@EXERCISE.wrong(stage="max_violation", says="The loads of the steps were averaged")
def averages_the_loads_of_steps(counts):
    def violation(load, loads):
        return float(loads.mean(0).max() * len(load) - 1)

    return _report(counts, max_violation=violation)


@EXERCISE.wrong(stage="max_violation", says="is that minus 1")
def forgets_minus_one(counts):
    return _report(counts, max_violation=lambda f, _: float(f.max() * len(f)))


@EXERCISE.wrong(stage="max_violation", says="which shrinks as experts become more")
def difference_not_ratio(counts):
    return _report(counts, max_violation=lambda f, _: float(f.max() - f.mean()))


@EXERCISE.wrong(stage="max_violation", says="The idle ones belong to it")
def ratio_to_the_living(counts):
    return _report(counts, max_violation=lambda f, _: float(f.max() / f[f > 0].mean() - 1))


@EXERCISE.wrong(stage="max_violation", says="MaxVio looks up only")
def looks_to_both_sides(counts):
    return _report(counts, max_violation=lambda f, _: float((f * len(f) - 1).abs().max()))


@EXERCISE.wrong(stage="step_violation", says="Batches that swing do not show in it")
def takes_the_sum_for_the_steps(counts):
    return _report(counts, step_violation=lambda f, _: float(f.max() * len(f) - 1))


@EXERCISE.wrong(stage="step_violation", says="The worst step was taken")
def takes_the_worst_step(counts):
    return _report(counts, step_violation=lambda f, s: float(s.max() * len(f) - 1))


@EXERCISE.wrong(stage="step_violation", says="Large steps weigh more here")
def weighs_steps_by_their_size(counts):
    size = counts.sum(1).double()
    each = counts.double().amax(1) * counts.shape[1] / size.clamp_min(1) - 1
    return _report(counts, step_violation=lambda f, s: float((each * size).sum() / size.sum()))


@EXERCISE.wrong(stage="steps without a choice", says="says nothing about balance")
def counts_empty_steps_in_the_mean(counts):
    def violation(load, loads):
        return float((loads.amax(1) * len(load) - 1).sum() / len(counts))

    return _report(counts, step_violation=violation)


@EXERCISE.wrong(stage="entropy", says="0 * log(0)")
def takes_log_of_zero(counts):
    def entropy(load, _):
        return float(-(load * load.log()).sum()) / math.log(len(load)) if len(load) > 1 else 1.0

    return _report(counts, entropy=entropy)


@EXERCISE.wrong(stage="entropy", says="to save 0 ln 0")
def adds_something_under_the_logarithm(counts):
    def entropy(load, _):
        if len(load) == 1:
            return 1.0
        return float(-(load * (load + 1e-6).log()).sum()) / math.log(len(load))

    return _report(counts, entropy=entropy)


@EXERCISE.wrong(stage="entropy", says="A single expert is even")
def entropy_in_nats(counts):
    return _report(counts, entropy=lambda f, _: float(torch.special.entr(f).sum()))


@EXERCISE.wrong(stage="entropy", says="one of base 2")
def mixes_logarithms(counts):
    def entropy(load, _):
        nats = float(torch.special.entr(load).sum())
        return nats / math.log2(len(load)) if len(load) > 1 else 1.0

    return _report(counts, entropy=entropy)


@EXERCISE.wrong(stage="entropy", says="that have tokens")
def divides_by_the_living(counts):
    def entropy(load, _):
        alive = int((load > 0).sum())
        return float(torch.special.entr(load).sum()) / math.log(alive) if alive > 1 else 1.0

    return _report(counts, entropy=entropy)


@EXERCISE.wrong(stage="entropy", says="the steps' own entropies")
def averages_entropies(counts):
    def entropy(load, loads):
        each = torch.special.entr(loads).sum(1)
        return float(each.mean()) / math.log(len(load)) if len(load) > 1 else 1.0

    return _report(counts, entropy=entropy)


@EXERCISE.wrong(stage="dead", says="Only experts without any choice")
def calls_only_the_idle_dead(counts):
    return _report(counts, dead=lambda load, _: int((load == 0).sum()))


@EXERCISE.wrong(stage="dead", says="a tenth of all choices here")
def forgets_the_factor_of_the_limit(counts):
    return _report(counts, dead=lambda load, _: int((load < 0.1).sum()))


@EXERCISE.wrong(stage="dead", says="exactly a tenth of the fair share was called dead")
def counts_the_border(counts):
    return _report(counts, dead=lambda load, _: int((load <= 0.1 / len(load)).sum()))


@EXERCISE.wrong(stage="dead", says="is not how many experts have less than")
def takes_a_fifth(counts):
    return _report(counts, dead=lambda load, _: int((load < 0.2 / len(load)).sum()))


@EXERCISE.wrong(stage="dead", says="of the busiest expert's load")
def takes_a_tenth_of_the_busiest(counts):
    return _report(counts, dead=lambda load, _: int((load < 0.1 * load.max()).sum()))


@EXERCISE.wrong(stage="dead", says="dead at every step were counted")
def counts_those_who_never_worked(counts):
    return _report(counts, dead=lambda f, s: int((s < 0.1 / len(f)).all(0).sum()))


def _often(loads):
    return (loads < 0.1 / loads.shape[1]).double().mean(0)


@EXERCISE.wrong(stage="resting", says="they are gone")
def lets_the_dead_rest(counts):
    return _report(counts, resting=lambda _, loads: int((_often(loads) > 0.5).sum()))


@EXERCISE.wrong(stage="resting", says="in exactly half of the steps")
def counts_half_of_the_steps(counts):
    def resting(load, loads):
        return int(((_often(loads) >= 0.5) & (load >= 0.1 / len(load))).sum())

    return _report(counts, resting=resting)


@EXERCISE.wrong(stage="resting", says="in a single step were counted")
def counts_a_single_rest(counts):
    def resting(load, loads):
        return int(((_often(loads) > 0) & (load >= 0.1 / len(load))).sum())

    return _report(counts, resting=resting)


@EXERCISE.right
def in_float32(counts):
    rows = counts[counts.sum(1) > 0].float()
    n_experts = rows.shape[1]
    relative = rows.sum(0) * n_experts / rows.sum()
    each = rows * n_experts / rows.sum(1)[:, None]
    logs = torch.where(relative > 0, relative / n_experts, 1.0).log() / math.log(max(n_experts, 2))
    rests = (each < 0.1).sum(0) * 2 > len(rows)
    return {
        "max_violation": (relative.max() - 1).item(),
        "step_violation": (each.amax(1) - 1).mean().item(),
        "entropy": 1 if n_experts == 1 else -(relative / n_experts * logs).sum().item(),
        "dead": (relative < 0.1).sum().item(),
        "resting": (rests & (relative >= 0.1)).sum().item(),
    }


@EXERCISE.right
def by_numpy(counts):
    table = counts.numpy()
    table = table[table.any(axis=1)]
    n_experts, total = table.shape[1], table.sum()
    share = table.sum(axis=0) / total
    some = share[share > 0]
    each = table / table.sum(axis=1, keepdims=True)
    gone = table.sum(axis=0) * 10 * n_experts < total
    off = table * 10 * n_experts < table.sum(axis=1, keepdims=True)
    entropy = -(some * np.log2(some)).sum() / np.log2(n_experts) if n_experts > 1 else 1.0
    return {
        "max_violation": float((share.max() - share.mean()) / share.mean()),
        "step_violation": float(np.mean(each.max(axis=1) * n_experts) - 1),
        "entropy": float(entropy),
        "dead": int(gone.sum()),
        "resting": int((~gone & (off.mean(axis=0) > 0.5)).sum()),
    }


@EXERCISE.right
def by_loops_over_steps(counts):
    rows = [row for row in counts.tolist() if sum(row)]
    n_experts = len(rows[0])
    sums = [sum(column) for column in zip(*rows, strict=True)]
    total = sum(sums)
    shares = [count / total for count in sums if count]
    nats = -sum(share * math.log(share) for share in shares)
    gone = [count * 10 * n_experts < total for count in sums]
    rests = [sum(row[e] * 10 * n_experts < sum(row) for row in rows) for e in range(n_experts)]
    return {
        "max_violation": max(sums) * n_experts / total - 1,
        "step_violation": sum(max(row) * n_experts / sum(row) - 1 for row in rows) / len(rows),
        "entropy": nats / math.log(n_experts) if n_experts > 1 else 1.0,
        "dead": sum(gone),
        "resting": sum(n * 2 > len(rows) and not g for n, g in zip(rests, gone, strict=True)),
    }
