"""Chapter 04: small slips of the hand that earn a sentence of their own."""

import torch
from torch.nn import functional

from moe_teach.judging.exercise import wrong


@wrong("4.2", stage="turned away", says="say dtype=torch.long")
def an_empty_list_of_floats(expert_ids, kept, n_experts):
    tokens, slot = [], torch.full_like(expert_ids, -1)
    for e in range(n_experts):
        for t, k in (kept & (expert_ids == e)).nonzero().tolist():
            slot[t, k] = len(tokens)
            tokens.append(t)
    counts = torch.bincount(expert_ids[kept], minlength=n_experts)
    return torch.tensor(tokens), slot, counts


@wrong("4.2", stage="shape", says="`token_idx` must be a torch tensor, and came as a list")
def lists_of_rows(expert_ids, kept, n_experts):
    token_idx, slot, counts = an_empty_list_of_floats(expert_ids, kept, n_experts)
    return token_idx.tolist(), slot, counts.tolist()


@wrong("4.2", stage="shape", says="in place")
def marks_the_callers_ids(expert_ids, kept, n_experts):
    expert_ids += 1
    counts = torch.bincount(expert_ids[kept] - 1, minlength=n_experts)
    return *an_empty_list_of_floats(expert_ids - 1, kept, n_experts)[:2], counts


@wrong("4.3", stage="mixture", says="divided by K")
def averages_over_the_choices(y, gates, slot):
    return (gates[..., None] * functional.pad(y, (0, 0, 0, 1))[slot]).mean(1)


@wrong("4.3", stage="mixture", says="Slot 0 is a row like any other")
def overlooks_row_zero(y, gates, slot):
    served = (slot > 0) * gates
    return (served[..., None] * functional.pad(y, (0, 0, 0, 1))[slot]).sum(1)
