"""Exercise 4.3: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn import functional
from torch.nn.functional import pad

from moe_teach.chapters.ch04_dispatch.combine import EXERCISE


@EXERCISE.wrong(stage="shape", says="sum over the K choices is missing")
def forgets_to_sum(y, gates, slot):
    return gates[..., None] * pad(y, (0, 0, 0, 1))[slot]


@EXERCISE.wrong(stage="mixture", says="without their gates")
def adds_without_gates(y, gates, slot):
    return pad(y, (0, 0, 0, 1))[slot].sum(1)


@EXERCISE.wrong(stage="mixture", says="still wrong")
def takes_rows_in_token_order(y, gates, slot):
    return (gates[..., None] * pad(y, (0, 0, 0, 1))[: slot.numel()].view(*slot.shape, -1)).sum(1)


@EXERCISE.wrong(stage="turned away", says="the *last* row")
def reads_the_last_row_for_minus_one(y, gates, slot):
    return (gates[..., None] * y[slot]).sum(1)


@EXERCISE.wrong(stage="turned away", says="were raised")
def raises_the_other_gates(y, gates, slot):
    left = gates * (slot >= 0)
    left = left * gates.sum(1, keepdim=True) / left.sum(1, keepdim=True).clamp_min(1e-9)
    return (left[..., None] * pad(y, (0, 0, 0, 1))[slot]).sum(1)


@EXERCISE.wrong(stage="nobody served", says="Indexing an empty y fails")
def masks_but_indexes_first(y, gates, slot):
    return ((gates * (slot >= 0))[..., None] * y[slot]).sum(1)


@EXERCISE.wrong(stage="gradient", says="not connected with `y`")
def mixes_detached_answers(y, gates, slot):
    return (gates[..., None] * pad(y.detach(), (0, 0, 0, 1))[slot]).sum(1)


@EXERCISE.right
def by_adding_rows_to_tokens(y, gates, slot):
    token, choice = torch.where(slot >= 0)
    weighed = gates[token, choice, None] * y[slot[token, choice]]
    return y.new_zeros(len(gates), y.shape[1]).index_add(0, token, weighed)


@EXERCISE.right
def by_a_sparse_matrix(y, gates, slot):
    matrix = torch.zeros(len(gates), len(y) + 1, dtype=torch.float64)
    index = torch.where(slot >= 0, slot, len(y))
    matrix = matrix.scatter_add(1, index, gates.double())
    return (matrix[:, :-1] @ y.double()).to(y.dtype)


@EXERCISE.wrong(stage="mixture", says="divided by K")
def averages_over_the_choices(y, gates, slot):
    return (gates[..., None] * functional.pad(y, (0, 0, 0, 1))[slot]).mean(1)


@EXERCISE.wrong(stage="mixture", says="Slot 0 is a row like any other")
def overlooks_row_zero(y, gates, slot):
    served = (slot > 0) * gates
    return (served[..., None] * functional.pad(y, (0, 0, 0, 1))[slot]).sum(1)


@EXERCISE.wrong(stage="mixture", says="divided by their sum")
def makes_the_gates_sum_to_one(y, gates, slot):
    gates = gates / gates.sum(1, keepdim=True)
    return (gates[..., None] * pad(y, (0, 0, 0, 1))[slot]).sum(1)


@EXERCISE.wrong(stage="gradient", says="gradient of `y` is another one")
def counts_the_gradient_twice(y, gates, slot):
    mixed = (gates[..., None] * pad(y, (0, 0, 0, 1))[slot]).sum(1)
    return 2 * mixed - mixed.detach()


@EXERCISE.right
def by_one_hot_rows(y, gates, slot):
    matrix = functional.one_hot(slot + 1, len(y) + 1)[..., 1:] * gates[..., None]
    return matrix.sum(1) @ y


@EXERCISE.right
def token_after_token(y, gates, slot):
    rows = []
    for t, chosen in enumerate(slot.tolist()):
        answers = [gates[t, k] * y[row] for k, row in enumerate(chosen) if row != -1]
        rows.append(sum(answers, torch.zeros(y.shape[1])))
    return torch.stack(rows)
