"""Chapter 04: plausible wrong answers, each with what it must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot, pad, silu

from moe_teach.course.answers._ch04_capacity import (  # noqa: F401 - found by name
    by_cumulative_sums,
    by_splitting_the_batch,
    counts_in_each_row,
    counts_the_slightly_hurt,
    deals_the_tokens_out,
    draws_with_a_fixed_seed,
    expert_by_expert,
    first_choices_first,
    forgets_the_generator,
    in_float64_by_adding_up,
    leaves_tensors_in_the_bill,
    leaves_tensors_in_the_report,
    lets_one_too_many_in,
    one_choice_at_a_time,
    one_limit_for_all_experts,
    pays_for_the_dropped_too,
    prices_two_matrices,
    reports_the_kept_share,
    returns_the_numbers_of_the_served,
    sets_gaps_off_against_queues,
    sorts_upwards,
    sorts_whole_tokens,
    swaps_wasted_and_missing,
    takes_anything_else_for_random,
    with_relu_of_differences,
)
from moe_teach.course.answers._ch04_slips import (  # noqa: F401 - found by name
    an_empty_list_of_floats,
    averages_over_the_choices,
    lists_of_rows,
    marks_the_callers_ids,
    overlooks_row_zero,
)
from moe_teach.judging.exercise import right, wrong

# --- 4.1 swiglu_expert ------------------------------------------------------------------------


@wrong("4.1", stage="shape", says="forget `w_down`")
def stops_at_the_inner_width(x, w_gate, w_up, w_down):
    return silu(x @ w_gate.T) * (x @ w_up.T)


@wrong("4.1", stage="values", says="wrong branch")
def opens_the_wrong_branch(x, w_gate, w_up, w_down):
    return ((x @ w_gate.T) * silu(x @ w_up.T)) @ w_down.T


@wrong("4.1", stage="values", says="the older GLU")
def uses_a_sigmoid(x, w_gate, w_up, w_down):
    return ((x @ w_gate.T).sigmoid() * (x @ w_up.T)) @ w_down.T


@wrong("4.1", stage="values", says="before the product")
def applies_silu_to_the_product(x, w_gate, w_up, w_down):
    return silu((x @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@wrong("4.1", stage="gradient", says="could not learn")
def computes_without_a_graph(x, w_gate, w_up, w_down):
    with torch.no_grad():
        return (silu(x @ w_gate.T) * (x @ w_up.T)) @ w_down.T


@right("4.1")
def by_one_fused_matrix(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up]).T).chunk(2, dim=-1)
    return torch.nn.functional.linear(gate * torch.sigmoid(gate) * up, w_down)


@right("4.1")
def by_einsum_in_float64(x, w_gate, w_up, w_down):
    gate, up = (torch.einsum("nd,fd->nf", x.double(), w.double()) for w in (w_gate, w_up))
    return torch.einsum("nf,df->nd", silu(gate) * up, w_down.double()).float()


# --- 4.2 sort_dispatch ------------------------------------------------------------------------


def _sorted(chosen, n_rows, top_k, n_experts):
    order = chosen.argsort(stable=True)
    slot = torch.full_like(order, -1)
    slot[order[:n_rows]] = torch.arange(n_rows)
    counts = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts]
    return order[:n_rows] // top_k, slot.view(-1, top_k), counts


def _dispatch(expert_ids, kept, n_experts):
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    return _sorted(chosen, int(kept.sum()), expert_ids.shape[1], n_experts)


@wrong("4.2", stage="shape", says="three tensors")
def forgets_the_counts(expert_ids, kept, n_experts):
    return _dispatch(expert_ids, kept, n_experts)[:2]


@wrong("4.2", stage="shape", says="still has its count")
def leaves_out_the_unpopular(expert_ids, kept, n_experts):
    token_idx, slot, _ = _dispatch(expert_ids, kept, n_experts)
    return token_idx, slot, expert_ids[kept].unique(return_counts=True)[1]


@wrong("4.2", stage="counts", says="all K columns")
def counts_first_choices_only(expert_ids, kept, n_experts):
    token_idx, slot, _ = _dispatch(expert_ids, kept, n_experts)
    return token_idx, slot, torch.bincount(expert_ids[:, 0], minlength=n_experts)


@wrong("4.2", stage="tokens", says="numbers of *choices*")
def names_choices_instead_of_tokens(expert_ids, kept, n_experts):
    _, slot, counts = _dispatch(expert_ids, kept, n_experts)
    order = expert_ids.masked_fill(~kept, n_experts).flatten().argsort(stable=True)
    return order[: int(kept.sum())], slot, counts


@wrong("4.2", stage="tokens", says="sort stable")
def sorts_equal_experts_backwards(expert_ids, kept, n_experts):
    _, slot, counts = _dispatch(expert_ids, kept, n_experts)
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    last_first = chosen.flip(0).argsort(stable=True)
    order = chosen.numel() - 1 - last_first
    return order[: int(kept.sum())] // expert_ids.shape[1], slot, counts


@wrong("4.2", stage="slot", says="*inverse*")
def takes_the_order_for_its_inverse(expert_ids, kept, n_experts):
    token_idx, _, counts = _dispatch(expert_ids, kept, n_experts)
    order = expert_ids.masked_fill(~kept, n_experts).flatten().argsort(stable=True)
    return token_idx, order.view_as(expert_ids).masked_fill(~kept, -1), counts


@wrong("4.2", stage="turned away", says="its slot is -1")
def gives_everybody_a_slot(expert_ids, kept, n_experts):
    chosen = expert_ids.flatten()
    return _sorted(chosen, chosen.numel(), expert_ids.shape[1], n_experts)


@wrong("4.2", stage="turned away", says="Only the kept ones take up room")
def leaves_gaps_for_the_dropped(expert_ids, kept, n_experts):
    token_idx, slot, counts = gives_everybody_a_slot(expert_ids, kept, n_experts)
    return token_idx, slot.masked_fill(~kept, -1), counts


@wrong("4.2", stage="turned away", says="close ranks")
def points_at_the_old_rows(expert_ids, kept, n_experts):
    token_idx, _, counts = _dispatch(expert_ids, kept, n_experts)
    slot = gives_everybody_a_slot(expert_ids, kept, n_experts)[1]
    return token_idx, slot.masked_fill(~kept, -1), counts


@right("4.2")
def by_walking_through_the_experts(expert_ids, kept, n_experts):
    slot, tokens, counts = torch.full(expert_ids.shape, -1), [], []
    for e in range(n_experts):
        token, choice = torch.where((expert_ids == e) & kept)
        slot[token, choice] = torch.arange(len(token)) + sum(counts)
        tokens.append(token)
        counts.append(len(token))
    return torch.cat(tokens), slot.int(), torch.tensor(counts)


@right("4.2")
def by_counting_with_one_hot(expert_ids, kept, n_experts):
    chosen = one_hot(expert_ids, n_experts).flatten(0, 1) * kept.flatten()[:, None]
    counts = chosen.sum(0)
    starts = counts.cumsum(0) - counts
    place = ((chosen.cumsum(0) - 1 + starts) * chosen).sum(1)
    slot = torch.where(kept.flatten(), place, -1).view_as(expert_ids)
    token_idx = torch.empty(int(counts.sum()), dtype=torch.long)
    token_idx[slot[kept]] = torch.arange(len(kept))[:, None].expand_as(kept)[kept]
    return token_idx, slot, counts


# --- 4.3 combine ------------------------------------------------------------------------------


@wrong("4.3", stage="shape", says="sum over the K choices missing")
def forgets_to_sum(y, gates, slot):
    return gates[..., None] * pad(y, (0, 0, 0, 1))[slot]


@wrong("4.3", stage="mixture", says="without their gates")
def adds_without_gates(y, gates, slot):
    return pad(y, (0, 0, 0, 1))[slot].sum(1)


@wrong("4.3", stage="mixture", says="still wrong")
def takes_rows_in_token_order(y, gates, slot):
    return (gates[..., None] * pad(y, (0, 0, 0, 1))[: slot.numel()].view(*slot.shape, -1)).sum(1)


@wrong("4.3", stage="turned away", says="the *last* row")
def reads_the_last_row_for_minus_one(y, gates, slot):
    return (gates[..., None] * y[slot]).sum(1)


@wrong("4.3", stage="turned away", says="were raised")
def raises_the_other_gates(y, gates, slot):
    left = gates * (slot >= 0)
    left = left / left.sum(1, keepdim=True).clamp_min(1e-9)
    return (left[..., None] * pad(y, (0, 0, 0, 1))[slot]).sum(1)


@wrong("4.3", stage="nobody served", says="Indexing an empty y fails")
def masks_but_indexes_first(y, gates, slot):
    return ((gates * (slot >= 0))[..., None] * y[slot]).sum(1)


@wrong("4.3", stage="gradient", says="without detach()")
def mixes_detached_answers(y, gates, slot):
    return (gates[..., None] * pad(y.detach(), (0, 0, 0, 1))[slot]).sum(1)


@right("4.3")
def by_adding_rows_to_tokens(y, gates, slot):
    token, choice = torch.where(slot >= 0)
    weighed = gates[token, choice, None] * y[slot[token, choice]]
    return y.new_zeros(len(gates), y.shape[1]).index_add(0, token, weighed)


@right("4.3")
def by_a_sparse_matrix(y, gates, slot):
    matrix = torch.zeros(len(gates), len(y) + 1, dtype=torch.float64)
    index = torch.where(slot >= 0, slot, len(y))
    matrix = matrix.scatter_add(1, index, gates.double())
    return (matrix[:, :-1] @ y.double()).to(y.dtype)
