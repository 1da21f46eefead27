"""Exercise 11.1: information that is something else, and other ways to the right number."""

import math
from collections import Counter

import torch

from moe_teach.chapters.ch11_reading_the_router import bits
from moe_teach.chapters.ch11_reading_the_router.information import EXERCISE


@EXERCISE.wrong(stage="by hand", says="That is in nats")
def in_nats(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "nats")


@EXERCISE.wrong(stage="by hand", says="information is never below 0")
def upside_down(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "sign")


@EXERCISE.wrong(stage="by hand", says="averaged over cells")
def mean_over_cells(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "mean")


@EXERCISE.wrong(stage="by hand", says="0 times the logarithm of 0")
def with_empty_cells(expert_ids, labels, given=None):
    experts = torch.nn.functional.one_hot(expert_ids[:, 0]).double()
    joint = experts.T @ torch.nn.functional.one_hot(labels).double() / len(labels)
    return (joint * (joint / (joint.sum(0) * joint.sum(1, keepdim=True))).log2()).sum().item()


@EXERCISE.wrong(stage="nothing given", says="Only the first choice")
def first_choice(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "first choice")


@EXERCISE.wrong(stage="nothing given", says="The shares add up to K")
def by_tokens(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "choices")


@EXERCISE.wrong(stage="given the token", says="What is given was not used")
def given_for_nothing(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels)


@EXERCISE.wrong(stage="given the token", says="the rare ones too")
def groups_alike(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "unweighted" if given is not None else "")


@EXERCISE.wrong(stage="given the token", says="to somebody who knows the label")
def label_for_given(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "swapped" if given is not None else "")


@EXERCISE.wrong(stage="by hand", says="One number is asked for")
def a_table(expert_ids, labels, given=None):
    return torch.zeros(3, 2)


@EXERCISE.wrong(stage="many tokens", says="stop counting")
def counts_in_half(expert_ids, labels, given=None):
    top_k = expert_ids.shape[1]
    given = torch.zeros_like(labels) if given is None else given
    right = bits.information(expert_ids, labels, given)
    return right if len(labels) * top_k < 2049 else 0.9 * right


@EXERCISE.wrong(stage="by hand", says="to the base 10")
def by_log10(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "base 10")


@EXERCISE.wrong(stage="by hand", says="That is near")
def with_something_added(expert_ids, labels, given=None):
    joint = torch.zeros(int(expert_ids.max()) + 1, int(labels.max()) + 1, dtype=torch.float64)
    joint.index_put_((expert_ids[:, 0], labels), torch.tensor(1 / len(labels)).double(), True)
    return (joint * (joint / (joint.sum(0) * joint.sum(1, keepdim=True)) + 1e-3).log2()).nansum()


@EXERCISE.wrong(stage="by hand", says="1 was added to each cell")
def smoothed(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "smoothed")


@EXERCISE.wrong(stage="by hand", says="none of the mistakes that are known")
def nothing_at_all(expert_ids, labels, given=None):
    return 0.0


@EXERCISE.wrong(stage="nothing given", says="divided by K once more")
def over_k(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "over K")


@EXERCISE.wrong(stage="nothing given", says="the labels of other tokens")
def labels_in_blocks(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "in blocks")


@EXERCISE.wrong(stage="nothing given", says="one choice of a set")
def sets_of_experts(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "sets")


@EXERCISE.wrong(stage="given the token", says="p(g) is missing")
def without_the_weight_of_given(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "without p(g)")


@EXERCISE.wrong(stage="given the token", says="The expert is not in it")
def of_given_alone(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "" if given is None else "given alone")


@EXERCISE.wrong(stage="given the token", says="tell together")
def of_both_together(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "" if given is None else "both")


@EXERCISE.wrong(stage="given the token", says="less what `given` tells")
def one_less_the_other(expert_ids, labels, given=None):
    return bits.information(expert_ids, labels, given, "" if given is None else "difference")


@EXERCISE.wrong(stage="edges", says="as good as nothing")
def all_or_nothing_given(expert_ids, labels, given=None):
    if given is not None and not given.any():
        return 0.0
    return bits.information(expert_ids, labels, given)


@EXERCISE.wrong(stage="edges", says="numbers that no token has")
def groups_by_counting_up(expert_ids, labels, given=None):
    if given is None:
        return bits.information(expert_ids, labels)
    groups = [given == g for g in range(len(given.unique()))]
    return sum(
        float(own.double().mean()) * bits.information(expert_ids[own], labels[own])
        for own in groups
        if own.any()
    )


@EXERCISE.wrong(stage="narrow integers", says="does not fit into int8")
def codes_in_the_columns_dtype(expert_ids, labels, given=None):
    if given is None:
        return bits.information(expert_ids, labels)
    pairs = expert_ids * (given.max() + 1) + given[:, None]
    of_both, of_given = (bits.information(x.unique(return_inverse=True)[1], labels)
                         for x in (pairs, given[:, None]))  # fmt: skip
    return of_both - of_given


def _entropy(*columns):
    counts = Counter(zip(*columns, strict=True))
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


@EXERCISE.right
def by_four_entropies(expert_ids, labels, given=None):
    top_k = expert_ids.shape[1]
    e, y = expert_ids.flatten().tolist(), labels.repeat_interleave(top_k).tolist()
    g = [0] * len(y) if given is None else given.repeat_interleave(top_k).tolist()
    return _entropy(g, e) + _entropy(g, y) - _entropy(g, e, y) - _entropy(g)


@EXERCISE.right
def group_by_group(expert_ids, labels, given=None):
    given = torch.zeros_like(labels) if given is None else given
    total = torch.zeros((), dtype=torch.float32)
    for value in given.unique():
        rows = given == value
        ids, own = expert_ids[rows], labels[rows]
        table = torch.zeros(int(ids.max()) + 1, int(own.max()) + 1)
        for k in range(ids.shape[1]):
            table.index_put_((ids[:, k].long(), own.long()), torch.ones(len(own)), accumulate=True)
        p = table / table.sum()
        ratio = p / (p.sum(0) * p.sum(1, keepdim=True)).clamp(min=1e-30)
        total = total + rows.float().mean() * (p * ratio.clamp(min=1e-30).log2()).sum()
    return total
