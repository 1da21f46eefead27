"""Exercise 7.4: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch07_modern_moe.answer_parts import _best_two, _limited, _open
from moe_teach.chapters.ch07_modern_moe.group_limited_topk import EXERCISE
from moe_teach.ops.route.variants import group_mask


@EXERCISE.wrong(stage="groups", says="no effect")
def forgets_the_groups(scores, top_k, n_groups, top_groups):
    return scores.topk(top_k, dim=-1).indices


@EXERCISE.wrong(stage="groups", says="the rule of DeepSeek-V2")
def ranks_groups_by_their_best(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, groups.amax(-1), top_k, top_groups)


@EXERCISE.wrong(stage="groups", says="Only the two best count")
def ranks_groups_by_all_of_them(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, groups.mean(-1), top_k, top_groups)


@EXERCISE.wrong(stage="groups", says="Groups hold neighbours")
def deals_groups_out_like_cards(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (-1, n_groups)).mT
    is_open = _open(_best_two(groups), top_groups)
    is_open = is_open.repeat(1, scores.shape[-1] // n_groups)
    return scores.masked_fill(~is_open, -torch.inf).topk(top_k, dim=-1).indices


@EXERCISE.wrong(stage="groups", says="for all tokens together")
def opens_the_same_groups_for_all(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    worth = _best_two(groups).mean(0, keepdim=True).expand(len(scores), -1)
    return _limited(groups, worth, top_k, top_groups)


@EXERCISE.wrong(stage="all groups open", says="positions inside a group")
def returns_positions_in_the_group(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups) % groups.shape[-1]


@EXERCISE.wrong(stage="negative scores", says="a zero beats every negative score")
def closes_with_zero(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups, closed=0.0)


@EXERCISE.wrong(stage="negative scores", says="A fixed number closes the groups")
def closes_with_minus_ten_thousand(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups, closed=-1e4)


@EXERCISE.wrong(stage="negative scores", says="sooner or later a score is lower. Use -torch.inf")
def adds_minus_a_billion(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    open_groups = _best_two(groups).topk(top_groups, dim=-1).indices
    fine = torch.full(groups.shape[:2], -1e9).scatter(-1, open_groups, 0.0)
    return (groups + fine[..., None]).flatten(1).topk(top_k, dim=-1).indices


@EXERCISE.wrong(stage="negative scores", says="The lowest score of all belongs to an open group")
def closes_with_the_lowest_score(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    low = scores.min().item()
    return _limited(groups, _best_two(groups), top_k, top_groups, closed=low)


@EXERCISE.wrong(stage="groups", says="as many experts as a token chooses")
def ranks_groups_by_their_best_k(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    worth = groups.topk(min(top_k, groups.shape[-1]), dim=-1).values.sum(-1)
    return _limited(groups, worth, top_k, top_groups)


@EXERCISE.wrong(stage="order", says="do not sort the numbers")
def sorts_the_numbers(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups).sort(-1).values


@EXERCISE.wrong(stage="groups of one", says="There is no second best to add")
def always_adds_two(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    worth = groups.topk(2, dim=-1).values.sum(-1)
    return _limited(groups, worth, top_k, top_groups)


@EXERCISE.right
def with_the_library_mask(scores, top_k, n_groups, top_groups):
    mask = group_mask(scores, n_groups, top_groups)
    return scores.masked_fill(~mask, -torch.inf).argsort(-1, descending=True)[:, :top_k]


@EXERCISE.right
def token_by_token(scores, top_k, n_groups, top_groups):
    size = scores.shape[1] // n_groups
    routes = []
    for row in scores.double().tolist():
        parts = [sorted(row[g * size : (g + 1) * size])[-2:] for g in range(n_groups)]
        best = sorted(range(n_groups), key=lambda g: -sum(parts[g]))[:top_groups]
        open_ids = [e for g in best for e in range(g * size, (g + 1) * size)]
        routes.append(sorted(open_ids, key=lambda e: -row[e])[:top_k])
    return torch.tensor(routes)


@EXERCISE.right
def by_gathering_the_open_groups(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    size = groups.shape[-1]
    best = _best_two(groups).topk(top_groups, dim=-1).indices  # (T, top_groups)
    ids = (best[..., None] * size + torch.arange(size)).flatten(1)
    return ids.gather(-1, scores.gather(-1, ids).topk(top_k, dim=-1).indices)
