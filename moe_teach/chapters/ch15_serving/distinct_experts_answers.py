"""Exercise 15.4: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch15_serving.distinct_experts import EXERCISE


def _table(steps, expert_ids, count):
    rows = [[count(layer[tokens]) for layer in expert_ids] for tokens in steps]
    return torch.tensor(rows, dtype=torch.int64).view(len(steps), len(expert_ids))


@EXERCISE.wrong(stage="several tokens", says="counted twice")
def counts_choices(expert_ids, steps):
    return _table(steps, expert_ids, lambda ids: int((ids >= 0).sum()))


@EXERCISE.wrong(stage="dropped choices and empty steps", says="wakes nobody")
def takes_minus_one_for_an_expert(expert_ids, steps):
    return _table(steps, expert_ids, lambda ids: ids.unique().numel())


@EXERCISE.wrong(stage="several tokens", says="wake together")
def takes_the_first_choice_only(expert_ids, steps):
    def first(ids):
        return ids[:, :1].unique().numel() if len(ids) > 1 else ids.unique().numel()

    return _table(steps, expert_ids, first)


@EXERCISE.wrong(stage="one token a step", says="summed or averaged")
def sums_the_layers(expert_ids, steps):
    return _table(steps, expert_ids, lambda ids: ids[ids >= 0].unique().numel()).sum(-1)


@EXERCISE.wrong(stage="one token a step", says="turned round")
def layers_first(expert_ids, steps):
    return _table(steps, expert_ids, lambda ids: ids[ids >= 0].unique().numel()).T.contiguous()


@EXERCISE.wrong(stage="one token a step", says="thrown together")
def one_pool_for_all_layers(expert_ids, steps):
    counts = [len(set(expert_ids[:, tokens].flatten().tolist()) - {-1}) for tokens in steps]
    return torch.tensor(counts, dtype=torch.int64)[:, None].repeat(1, len(expert_ids))


@EXERCISE.right
def with_python_sets(expert_ids, steps):
    def count(ids):
        return len(set(ids.flatten().tolist()) - {-1})

    return _table(steps, expert_ids, count)


@EXERCISE.right
def with_bincount(expert_ids, steps):
    n_experts = int(expert_ids.max()) + 1

    def count(ids):
        return int((ids.flatten() + 1).bincount(minlength=n_experts + 1)[1:].count_nonzero())

    return _table(steps, expert_ids, count)
