"""Chapter 04, exercises 4.4 to 4.6: wrong and other right answers about capacity."""

import torch

from moe_teach.judging.exercise import right, wrong

# --- 4.4 capacity_dispatch --------------------------------------------------------------------


def _queue(ids, gates, policy, generator):
    match policy:
        case "first_come":
            return torch.arange(ids.numel())
        case "by_gate":
            return gates.flatten().argsort(descending=True)
        case "random":
            return torch.randperm(ids.numel(), generator=generator)
    raise ValueError(policy)


def _door(ids, queue, capacity):
    chosen = ids.flatten()
    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for e in chosen.unique():
        kept[queue[chosen[queue] == e][:capacity]] = True
    return kept.view_as(ids)


@wrong("4.4", stage="shape", says="one boolean for each choice")
def returns_the_numbers_of_the_served(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    return _door(expert_ids, queue, capacity).flatten().nonzero()[:, 0]


@wrong("4.4", stage="room", says="more than `capacity`")
def lets_one_too_many_in(expert_ids, gates, capacity, policy, generator=None):
    return _door(expert_ids, _queue(expert_ids, gates, policy, generator), capacity + 1)


@wrong("4.4", stage="room", says="although its expert had room")
def one_limit_for_all_experts(expert_ids, gates, capacity, policy, generator=None):
    kept = torch.zeros(expert_ids.numel(), dtype=torch.bool)
    kept[_queue(expert_ids, gates, policy, generator)[:capacity]] = True
    return kept.view_as(expert_ids)


@wrong("4.4", stage="first come", says="all first choices before all second")
def first_choices_first(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    if policy == "first_come":
        queue = queue.view_as(expert_ids).T.flatten()
    return _door(expert_ids, queue, capacity)


@wrong("4.4", stage="by gate", says="smallest gates were served first")
def sorts_upwards(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    return _door(expert_ids, queue.flip(0) if policy == "by_gate" else queue, capacity)


@wrong("4.4", stage="by gate", says="Single choices compete")
def sorts_whole_tokens(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    if policy == "by_gate":
        places = torch.arange(expert_ids.numel()).view_as(expert_ids)
        queue = places[gates.amax(dim=1).argsort(descending=True)].flatten()
    return _door(expert_ids, queue, capacity)


@wrong("4.4", stage="random", says="Hand `generator` on")
def forgets_the_generator(expert_ids, gates, capacity, policy, generator=None):
    return _door(expert_ids, _queue(expert_ids, gates, policy, None), capacity)


@wrong("4.4", stage="random", says="same chance")
def draws_with_a_fixed_seed(expert_ids, gates, capacity, policy, generator=None):
    fixed = torch.Generator().manual_seed(0)
    return _door(expert_ids, _queue(expert_ids, gates, policy, fixed), capacity)


@wrong("4.4", stage="unknown policy", says="raise a `ValueError`")
def takes_anything_else_for_random(expert_ids, gates, capacity, policy, generator=None):
    known = policy if policy in ("first_come", "by_gate") else "random"
    return _door(expert_ids, _queue(expert_ids, gates, known, generator), capacity)


@right("4.4")
def by_cumulative_sums(expert_ids, gates, capacity, policy, generator=None):
    queue = _queue(expert_ids, gates, policy, generator)
    chosen = torch.nn.functional.one_hot(expert_ids.flatten()[queue])
    place = ((chosen.cumsum(0) - chosen) * chosen).sum(-1)
    kept = torch.empty(len(queue), dtype=torch.bool)
    kept[queue] = place < capacity
    return kept.view_as(expert_ids)


@right("4.4")
def one_choice_at_a_time(expert_ids, gates, capacity, policy, generator=None):
    served, kept = {}, torch.zeros_like(expert_ids, dtype=torch.bool)
    for i in _queue(expert_ids, gates, policy, generator).tolist():
        t, k = divmod(i, expert_ids.shape[1])
        e = int(expert_ids[t, k])
        served[e] = served.get(e, 0) + 1
        kept[t, k] = served[e] <= capacity
    return kept


# --- 4.5 drop_report --------------------------------------------------------------------------


def _report(kept, n_rows):
    lost = ~kept
    return {
        "dropped": lost.float().mean().item(),
        "by_row": lost.view(n_rows, -1).float().mean(1),
        "unserved": int(lost.all(1).sum()),
    }


@wrong("4.5", stage="a dictionary", says="a plain float")
def leaves_tensors_in_the_report(kept, n_rows):
    return _report(kept, n_rows) | {"dropped": (~kept).float().mean()}


@wrong("4.5", stage="dropped", says="the share of False")
def reports_the_kept_share(kept, n_rows):
    return _report(kept, n_rows) | {"dropped": kept.float().mean().item()}


@wrong("4.5", stage="by row", says="return their share")
def counts_in_each_row(kept, n_rows):
    return _report(kept, n_rows) | {"by_row": (~kept).view(n_rows, -1).sum(1).float()}


@wrong("4.5", stage="by row", says="in one piece")
def deals_the_tokens_out(kept, n_rows):
    dealt = (~kept).view(-1, n_rows, kept.shape[1]).float().mean((0, 2))
    return _report(kept, n_rows) | {"by_row": dealt}


@wrong("4.5", stage="unserved", says="lost *all* their choices")
def counts_the_slightly_hurt(kept, n_rows):
    return _report(kept, n_rows) | {"unserved": int((~kept).any(1).sum())}


@right("4.5")
def by_splitting_the_batch(kept, n_rows):
    rows = kept.chunk(n_rows)
    return {
        "dropped": 1 - kept.double().mean().item(),
        "by_row": torch.tensor([1 - row.double().mean().item() for row in rows]),
        "unserved": sum(not any(token) for token in kept.tolist()),
    }


@right("4.5")
def in_float64_by_adding_up(kept, n_rows):
    lost = (1 - kept.double()).view(n_rows, -1, kept.shape[1])
    per_token = lost.sum(-1)
    return {
        "dropped": float(lost.sum() / lost.numel()),
        "by_row": per_token.sum(-1) / lost[0].numel(),
        "unserved": (per_token == kept.shape[1]).sum().item(),
    }


# --- 4.6 padding_bill -------------------------------------------------------------------------


def _rows(counts, capacity):
    used = int(counts.clamp(max=capacity).sum())
    return used, len(counts) * capacity - used, int(counts.sum()) - used


@wrong("4.6", stage="three integers", says="three plain integers")
def leaves_tensors_in_the_bill(tokens_per_expert, capacity, d_model, d_ff):
    used = tokens_per_expert.clamp(max=capacity).sum()
    row, places = 6 * d_model * d_ff, len(tokens_per_expert) * capacity
    return used * row, (places - used) * row, (tokens_per_expert.sum() - used) * row


@wrong("4.6", stage="useful", says="*three* matrices")
def prices_two_matrices(tokens_per_expert, capacity, d_model, d_ff):
    return tuple(4 * d_model * d_ff * n for n in _rows(tokens_per_expert, capacity))


@wrong("4.6", stage="useful", says="at most `capacity`")
def pays_for_the_dropped_too(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used + missing, wasted, missing))


@wrong("4.6", stage="wasted and missing", says="A negative bill")
def sets_gaps_off_against_queues(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used, wasted - missing, missing - wasted))


@wrong("4.6", stage="wasted and missing", says="all places minus the used")
def swaps_wasted_and_missing(tokens_per_expert, capacity, d_model, d_ff):
    used, wasted, missing = _rows(tokens_per_expert, capacity)
    return tuple(6 * d_model * d_ff * n for n in (used, missing, wasted))


@right("4.6")
def expert_by_expert(tokens_per_expert, capacity, d_model, d_ff):
    useful = wasted = missing = 0
    for count in tokens_per_expert.tolist():
        useful += min(count, capacity) * 6 * d_model * d_ff
        wasted += max(capacity - count, 0) * 6 * d_model * d_ff
        missing += max(count - capacity, 0) * 6 * d_model * d_ff
    return useful, wasted, missing


@right("4.6")
def with_relu_of_differences(tokens_per_expert, capacity, d_model, d_ff):
    over = tokens_per_expert.double() - capacity
    n_missing, n_wasted = int(over.relu().sum()), int((-over).relu().sum())
    row = 2 * (2 * d_model * d_ff + d_ff * d_model)
    return (int(tokens_per_expert.sum()) - n_missing) * row, n_wasted * row, n_missing * row
