"""Exercise 7.5: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import logsigmoid

from moe_teach.chapters.ch07_modern_moe.answer_parts import _best_two, _limited, _open
from moe_teach.chapters.ch07_modern_moe.sigmoid_bias_route import EXERCISE
from moe_teach.ops.route import topk_gates
from moe_teach.ops.route.variants import group_mask


def _choose(ranking, top_k, n_groups, top_groups, closed=-torch.inf, worth=None):
    groups = ranking.unflatten(-1, (n_groups, -1))
    return _limited(
        groups, _best_two(groups) if worth is None else worth, top_k, top_groups, closed
    )


def _weigh(scores, ids, scale):
    gates = scores.gather(-1, ids)
    return scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="choice", says="without any bias")
def forgets_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, _choose(scores, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="choice", says="went into the sigmoid")
def biases_the_logits(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    ids = _choose((logits + expert_bias).sigmoid(), top_k, n_groups, top_groups)
    return _weigh(logits.float().sigmoid(), ids, gate_scale)


@EXERCISE.wrong(stage="choice", says="take the sigmoid")
def scores_by_softmax(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().softmax(-1)
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="groups", says="the groups have no effect")
def forgets_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, (scores + expert_bias).topk(top_k).indices, gate_scale)


@EXERCISE.wrong(stage="groups", says="The biased scores choose groups, too")
def unbiased_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    worth = _best_two(scores.unflatten(-1, (n_groups, -1)))
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups, worth=worth)
    return _weigh(scores, ids, gate_scale)


@EXERCISE.wrong(stage="negative ranking", says="A fixed number closes the groups")
def minus_a_billion_closes(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups, closed=-1e9)
    return _weigh(scores, ids, gate_scale)


@EXERCISE.wrong(stage="negative ranking", says="a zero beats the open experts")
def zero_closes_groups(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups, closed=0.0)
    return _weigh(scores, ids, gate_scale)


@EXERCISE.wrong(stage="gates", says="The bias leaked in")
def weighs_with_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    ranking = logits.float().sigmoid() + expert_bias
    return _weigh(ranking, _choose(ranking, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="gates", says="scores as they come")
def forgets_to_normalise(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return gate_scale * scores.gather(-1, ids), ids


@EXERCISE.wrong(stage="gates", says="the sum over *all* experts")
def normalises_over_all(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return gate_scale * (scores / scores.sum(-1, keepdim=True)).gather(-1, ids), ids


@EXERCISE.wrong(stage="scale", says="where the factor cancels")
def scales_too_early(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return _weigh(gate_scale * scores, ids, 1.0)


@EXERCISE.wrong(stage="float32", says="ran in low precision")
def stays_in_bfloat16(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.sigmoid()
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="gradient", says="The result carries no gradient")
def without_gradient(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.detach().float().sigmoid()
    return _weigh(scores, _choose(scores + expert_bias, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="choice", says="The bias was subtracted")
def subtracts_the_bias(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    return _weigh(scores, _choose(scores - expert_bias, top_k, n_groups, top_groups), gate_scale)


@EXERCISE.wrong(stage="gates", says="Divide within each row")
def one_sum_for_all_tokens(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.sum(), ids


@EXERCISE.wrong(stage="gradient", says="a part of what the result depends on is cut off")
def divides_by_a_detached_sum(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.detach().sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="far from zero", says="A number is added to the sum")
def adds_a_millionth(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    gates = scores.gather(-1, ids)
    return gate_scale * gates / (gates.sum(-1, keepdim=True) + 1e-6), ids


@EXERCISE.wrong(stage="far from zero", says="goes around it")
def writes_its_own_sigmoid(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().exp() / (1 + logits.float().exp())
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return _weigh(scores, ids, gate_scale)


@EXERCISE.wrong(stage="groups of one", says="there is no second best to add")
def adds_two_bests_always(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5):
    scores = logits.float().sigmoid()
    ranking = scores + expert_bias
    if n_groups == 1:
        return _weigh(scores, ranking.topk(top_k).indices, gate_scale)
    worth = ranking.unflatten(-1, (n_groups, -1)).topk(2, dim=-1).values.sum(-1)
    ids = _choose(ranking, top_k, n_groups, top_groups, worth=worth)
    return _weigh(scores, ids, gate_scale)


@EXERCISE.wrong(stage="scale", says="A default differs from the stub's")
def scales_by_one_unasked(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=1.0):
    scores = logits.float().sigmoid()
    ids = _choose(scores + expert_bias, top_k, n_groups, top_groups)
    return _weigh(scores, ids, gate_scale)


def _named(name, worth=None, dead=lambda bias, ranking: -torch.inf):
    """Make an answer that leaves out who is out of service, and values groups by `worth`."""

    def answer(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5, alive=None):
        ranking = (scores := logits.float().sigmoid()) + expert_bias
        closed = ranking
        if alive is not None:
            closed = torch.where(alive, ranking, dead(expert_bias, ranking))
        groups = [r.unflatten(-1, (n_groups, -1)) for r in (ranking, closed)]
        value = worth(*groups) if worth else _best_two(groups[1])
        return _weigh(scores, _choose(closed, top_k, n_groups, top_groups, worth=value), gate_scale)

    answer.__name__ = answer.__qualname__ = name
    return answer


def _zeros(before, after):
    return _best_two(after.masked_fill(after.isneginf(), 0.0))


for _name, _words, _how in (
    ("adds_up_minus_infinity", "its second best is minus infinity", {}),
    ("ranks_the_dead_at_zero", "rank as 0", {"dead": lambda bias, _: 0 * bias}),
    ("silences_the_logits", "still rank by their bias", {"dead": lambda bias, _: bias}),
    ("does_not_look", "`alive` has no effect", {"dead": lambda _, ranking: ranking}),
    ("counts_the_dead_as_zero", "An empty group counts as 0", {"worth": _zeros}),
    ("ranks_groups_with_the_dead", "were ranked with experts that are out",
     {"worth": lambda before, after: _best_two(before)}),
):  # fmt: skip
    EXERCISE.wrong(stage="out of service", says=_words)(_named(_name, **_how))


@EXERCISE.right
def token_by_token_in_float64(
    logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5, alive=None
):
    size = logits.shape[1] // n_groups
    alive = [True] * logits.shape[1] if alive is None else alive.tolist()
    routes, gates = [], []
    for row in logits.double().sigmoid():
        ranking = (row + expert_bias).tolist()
        living = [[e for e in range(g * size, (g + 1) * size) if alive[e]] for g in range(n_groups)]
        parts = {g: sorted(ranking[e] for e in part)[-2:] for g, part in enumerate(living) if part}
        best = sorted(parts, key=lambda g: -sum(parts[g]))[:top_groups]
        open_ids = [e for g in best for e in living[g]]
        routes.append(sorted(open_ids, key=lambda e: -ranking[e])[:top_k])
        own = row[routes[-1]]
        gates.append((gate_scale * own / (own.sum() + 1e-20)).float())
    return torch.stack(gates), torch.tensor(routes)


@EXERCISE.right
def with_library_parts(
    logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5, alive=None
):
    scores = logits.float().sigmoid()
    ranking = scores + expert_bias
    mask = group_mask(ranking, n_groups, top_groups)
    if alive is not None:
        groups = ranking.masked_fill(~alive, -torch.inf).unflatten(-1, (n_groups, -1))
        best = groups.sort(-1, descending=True).values[..., :2]
        empty = best[..., 0].isneginf()
        worth = best.masked_fill(best.isneginf(), 0.0).sum(-1).masked_fill(empty, -torch.inf)
        mask = _open(worth, top_groups).repeat_interleave(groups.shape[-1], dim=-1) & alive
    ranking = ranking.masked_fill(~mask, -torch.inf)
    return topk_gates(scores, top_k, ranking=ranking, scale=gate_scale)


@EXERCISE.right
def in_log_space(logits, expert_bias, top_k, n_groups=1, top_groups=1, gate_scale=2.5, alive=None):
    logs = logsigmoid(logits.float())
    ranking = logs.exp() + expert_bias[None]
    # Sinks whoever is out of service below all others, and an empty group below all groups.
    alive = torch.ones(logits.shape[1], dtype=torch.bool) if alive is None else alive
    groups = ranking.masked_fill(~alive, -torch.inf).unflatten(-1, (n_groups, -1))
    first = groups.amax(-1)
    rest = groups.scatter(-1, groups.argmax(-1, keepdim=True), -torch.inf).amax(-1)
    worth = torch.where(rest.isneginf(), first, first + rest)
    ids = _limited(groups, worth, top_k, top_groups)
    return logs.gather(-1, ids).softmax(-1) * gate_scale, ids
