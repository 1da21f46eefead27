"""Chapter 07: answers to 7.4 and 7.5, group-limited routing and DeepSeek-V3's rule."""

import torch
from torch.nn.functional import logsigmoid

from moe_teach.course.exercise import right, wrong
from moe_teach.ops.route import topk_gates
from moe_teach.ops.route.variants import group_mask

# --- 7.4 group_limited_topk ---------------------------------------------------------------------


def _best_two(groups):
    return groups.topk(min(2, groups.shape[-1]), dim=-1).values.sum(-1)


def _open(worth, top_groups):
    mask = torch.zeros_like(worth, dtype=torch.bool)
    return mask.scatter(-1, worth.topk(top_groups, dim=-1).indices, True)


def _limited(groups, worth, top_k, top_groups, closed=-torch.inf):
    is_open = _open(worth, top_groups)[..., None]
    return groups.masked_fill(~is_open, closed).flatten(1).topk(top_k, dim=-1).indices


@wrong("7.4", stage="groups", says="no effect")
def forgets_the_groups(scores, top_k, n_groups, top_groups):
    return scores.topk(top_k, dim=-1).indices


@wrong("7.4", stage="groups", says="the rule of DeepSeek-V2")
def ranks_groups_by_their_best(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, groups.amax(-1), top_k, top_groups)


@wrong("7.4", stage="groups", says="Only the two best count")
def ranks_groups_by_all_of_them(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, groups.mean(-1), top_k, top_groups)


@wrong("7.4", stage="groups", says="Groups hold neighbours")
def deals_groups_out_like_cards(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (-1, n_groups)).mT
    is_open = _open(_best_two(groups), top_groups)
    is_open = is_open.repeat(1, scores.shape[-1] // n_groups)
    return scores.masked_fill(~is_open, -torch.inf).topk(top_k, dim=-1).indices


@wrong("7.4", stage="groups", says="for all tokens together")
def opens_the_same_groups_for_all(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    worth = _best_two(groups).mean(0, keepdim=True).expand(len(scores), -1)
    return _limited(groups, worth, top_k, top_groups)


@wrong("7.4", stage="all groups open", says="positions inside a group")
def returns_positions_in_the_group(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups) % groups.shape[-1]


@wrong("7.4", stage="negative scores", says="A zero beats every negative score")
def closes_with_zero(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups, closed=0.0)


@wrong("7.4", stage="order", says="do not sort the numbers")
def sorts_the_numbers(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    return _limited(groups, _best_two(groups), top_k, top_groups).sort(-1).values


@wrong("7.4", stage="groups of one", says="There is no second best to add")
def always_adds_two(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    worth = groups.topk(2, dim=-1).values.sum(-1)
    return _limited(groups, worth, top_k, top_groups)


@right("7.4")
def with_the_library_mask(scores, top_k, n_groups, top_groups):
    mask = group_mask(scores, n_groups, top_groups)
    return scores.masked_fill(~mask, -torch.inf).argsort(-1, descending=True)[:, :top_k]


@right("7.4")
def token_by_token(scores, top_k, n_groups, top_groups):
    size = scores.shape[1] // n_groups
    routes = []
    for row in scores.double().tolist():
        parts = [sorted(row[g * size : (g + 1) * size])[-2:] for g in range(n_groups)]
        best = sorted(range(n_groups), key=lambda g: -sum(parts[g]))[:top_groups]
        open_ids = [e for g in best for e in range(g * size, (g + 1) * size)]
        routes.append(sorted(open_ids, key=lambda e: -row[e])[:top_k])
    return torch.tensor(routes)


@right("7.4")
def by_gathering_the_open_groups(scores, top_k, n_groups, top_groups):
    groups = scores.unflatten(-1, (n_groups, -1))
    size = groups.shape[-1]
    best = _best_two(groups).topk(top_groups, dim=-1).indices  # (T, top_groups)
    ids = (best[..., None] * size + torch.arange(size)).flatten(1)
    return ids.gather(-1, scores.gather(-1, ids).topk(top_k, dim=-1).indices)


# --- 7.5 sigmoid_bias_route ---------------------------------------------------------------------


def _choose(ranking, top_k, n_groups, top_groups, closed=-torch.inf, worth=None):
    groups = ranking.unflatten(-1, (n_groups, -1))
    return _limited(
        groups, _best_two(groups) if worth is None else worth, top_k, top_groups, closed
    )


def _weigh(scores, ids, scale):
    gates = scores.gather(-1, ids)
    return scale * gates / gates.sum(-1, keepdim=True), ids


@wrong("7.5", stage="choice", says="without any bias")
def forgets_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, _choose(scores, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="choice", says="went into the sigmoid")
def biases_the_logits(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    ids = _choose((logits + expert_bias).sigmoid(), top_k, n_groups, top_groups)
    return _weigh(logits.float().sigmoid(), ids, gate_scale)


@wrong("7.5", stage="choice", says="take the sigmoid")
def scores_by_softmax(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().softmax(-1)
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="groups", says="the groups have no effect")
def forgets_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, (scores + expert_bias).topk(top_k).indices, gate_scale)


@wrong("7.5", stage="groups", says="The biased scores choose groups, too")
def unbiased_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    worth = _best_two(scores.unflatten(-1, (n_groups, -1)))
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups, worth=worth)
    return _weigh(scores, ids, gate_scale)


@wrong("7.5", stage="negative ranking", says="a zero beats the open experts")
def zero_closes_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups, closed=0.0)
    return _weigh(scores, ids, gate_scale)


@wrong("7.5", stage="gates", says="the bias leaked in")
def weighs_with_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    ranking = logits.float().sigmoid() + expert_bias
    return _weigh(ranking, _choose(ranking, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="gates", says="scores as they come")
def forgets_to_normalise(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return gate_scale * scores.gather(-1, ids), ids


@wrong("7.5", stage="gates", says="the sum over *all* experts")
def normalises_over_all(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return gate_scale * (scores / scores.sum(-1, keepdim=True)).gather(-1, ids), ids


@wrong("7.5", stage="scale", says="the factor would cancel")
def scales_too_early(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return _weigh(gate_scale * scores, ids, 1.0)


@wrong("7.5", stage="float32", says="Low-precision logits")
def stays_in_bfloat16(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.sigmoid()
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="gradient", says="could never learn")
def without_gradient(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.detach().float().sigmoid()
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="choice", says="The bias was subtracted")
def subtracts_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, _choose(scores - expert_bias, top_k, n_groups, top_groups), gate_scale)


@wrong("7.5", stage="gates", says="Divide within each row")
def one_sum_for_all_tokens(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.sum(), ids


@right("7.5")
def with_library_parts(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    mask = group_mask(scores + expert_bias, n_groups, top_groups)
    ranking = (scores + expert_bias).masked_fill(~mask, -torch.inf)
    return topk_gates(scores, top_k, ranking=ranking, scale=gate_scale)


@right("7.5")
def in_log_space(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    logs = logsigmoid(logits.float())
    ids = _choose(logs.exp() + expert_bias[None], top_k, n_groups, top_groups)
    return logs.gather(-1, ids).softmax(-1) * gate_scale, ids
