"""Exercise 4.2: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch04_dispatch.sort_dispatch import EXERCISE


def _sorted(chosen, n_rows, top_k, n_experts):
    order = chosen.argsort(stable=True)
    slot = torch.full_like(order, -1)
    slot[order[:n_rows]] = torch.arange(n_rows)
    counts = torch.bincount(chosen, minlength=n_experts + 1)[:n_experts]
    return order[:n_rows] // top_k, slot.view(-1, top_k), counts


def _dispatch(expert_ids, kept, n_experts):
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    return _sorted(chosen, int(kept.sum()), expert_ids.shape[1], n_experts)


@EXERCISE.wrong(stage="shape", says="three tensors")
def forgets_the_counts(expert_ids, kept, n_experts):
    return _dispatch(expert_ids, kept, n_experts)[:2]


@EXERCISE.wrong(stage="shape", says="still has its count")
def leaves_out_the_unpopular(expert_ids, kept, n_experts):
    token_idx, slot, _ = _dispatch(expert_ids, kept, n_experts)
    return token_idx, slot, expert_ids[kept].unique(return_counts=True)[1]


@EXERCISE.wrong(stage="counts", says="all K columns")
def counts_first_choices_only(expert_ids, kept, n_experts):
    token_idx, slot, _ = _dispatch(expert_ids, kept, n_experts)
    return token_idx, slot, torch.bincount(expert_ids[:, 0], minlength=n_experts)


@EXERCISE.wrong(stage="tokens", says="numbers of *choices*")
def names_choices_instead_of_tokens(expert_ids, kept, n_experts):
    _, slot, counts = _dispatch(expert_ids, kept, n_experts)
    order = expert_ids.masked_fill(~kept, n_experts).flatten().argsort(stable=True)
    return order[: int(kept.sum())], slot, counts


@EXERCISE.wrong(stage="tokens", says="sort is not stable")
def sorts_equal_experts_backwards(expert_ids, kept, n_experts):
    _, slot, counts = _dispatch(expert_ids, kept, n_experts)
    chosen = expert_ids.masked_fill(~kept, n_experts).flatten()
    last_first = chosen.flip(0).argsort(stable=True)
    order = chosen.numel() - 1 - last_first
    return order[: int(kept.sum())] // expert_ids.shape[1], slot, counts


@EXERCISE.wrong(stage="slot", says="*inverse*")
def takes_the_order_for_its_inverse(expert_ids, kept, n_experts):
    token_idx, _, counts = _dispatch(expert_ids, kept, n_experts)
    order = expert_ids.masked_fill(~kept, n_experts).flatten().argsort(stable=True)
    return token_idx, order.view_as(expert_ids).masked_fill(~kept, -1), counts


@EXERCISE.wrong(stage="turned away", says="its slot is -1")
def gives_everybody_a_slot(expert_ids, kept, n_experts):
    chosen = expert_ids.flatten()
    return _sorted(chosen, chosen.numel(), expert_ids.shape[1], n_experts)


@EXERCISE.wrong(stage="turned away", says="Only the kept ones take up room")
def leaves_gaps_for_the_dropped(expert_ids, kept, n_experts):
    token_idx, slot, counts = gives_everybody_a_slot(expert_ids, kept, n_experts)
    return token_idx, slot.masked_fill(~kept, -1), counts


@EXERCISE.wrong(stage="turned away", says="close ranks")
def points_at_the_old_rows(expert_ids, kept, n_experts):
    token_idx, _, counts = _dispatch(expert_ids, kept, n_experts)
    slot = gives_everybody_a_slot(expert_ids, kept, n_experts)[1]
    return token_idx, slot.masked_fill(~kept, -1), counts


@EXERCISE.right
def by_walking_through_the_experts(expert_ids, kept, n_experts):
    slot, tokens, counts = torch.full(expert_ids.shape, -1), [], []
    for e in range(n_experts):
        token, choice = torch.where((expert_ids == e) & kept)
        slot[token, choice] = torch.arange(len(token)) + sum(counts)
        tokens.append(token)
        counts.append(len(token))
    return torch.cat(tokens), slot.int(), torch.tensor(counts)


@EXERCISE.right
def by_counting_with_one_hot(expert_ids, kept, n_experts):
    chosen = one_hot(expert_ids, n_experts).flatten(0, 1) * kept.flatten()[:, None]
    counts = chosen.sum(0)
    starts = counts.cumsum(0) - counts
    place = ((chosen.cumsum(0) - 1 + starts) * chosen).sum(1)
    slot = torch.where(kept.flatten(), place, -1).view_as(expert_ids)
    token_idx = torch.empty(int(counts.sum()), dtype=torch.long)
    token_idx[slot[kept]] = torch.arange(len(kept))[:, None].expand_as(kept)[kept]
    return token_idx, slot, counts


@EXERCISE.wrong(stage="turned away", says="say dtype=torch.long")
def an_empty_list_of_floats(expert_ids, kept, n_experts):
    tokens, slot = [], torch.full_like(expert_ids, -1)
    for e in range(n_experts):
        for t, k in (kept & (expert_ids == e)).nonzero().tolist():
            slot[t, k] = len(tokens)
            tokens.append(t)
    counts = torch.bincount(expert_ids[kept], minlength=n_experts)
    return torch.tensor(tokens), slot, counts


@EXERCISE.wrong(stage="shape", says="`token_idx` must be a torch tensor, and came as a list")
def lists_of_rows(expert_ids, kept, n_experts):
    token_idx, slot, counts = an_empty_list_of_floats(expert_ids, kept, n_experts)
    return token_idx.tolist(), slot, counts.tolist()


@EXERCISE.wrong(stage="shape", says="in place")
def marks_the_callers_ids(expert_ids, kept, n_experts):
    expert_ids += 1
    counts = torch.bincount(expert_ids[kept] - 1, minlength=n_experts)
    return *an_empty_list_of_floats(expert_ids - 1, kept, n_experts)[:2], counts


@EXERCISE.right
def by_one_key_for_expert_and_token(expert_ids, kept, n_experts):
    n_tokens = len(expert_ids)
    key = (expert_ids * n_tokens + torch.arange(n_tokens)[:, None])[kept]
    slot = torch.full(expert_ids.shape, -1)
    slot[kept] = key.argsort().argsort()
    counts = (expert_ids[kept] == torch.arange(n_experts)[:, None]).sum(1)
    return key.sort().values % n_tokens, slot, counts
