"""Exercise 3.6: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.judge_choices import EXERCISE


def _is_chosen(logits, expert_ids):
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, expert_ids, True)


def _gap(logits, expert_ids):
    chosen = _is_chosen(logits, expert_ids)
    inside = logits.masked_fill(~chosen, torch.inf).amin(dim=-1)
    return logits.masked_fill(chosen, -torch.inf).amax(dim=-1) - inside


def _verdicts(gap, allowed):
    return (gap > 0).long() + (gap > allowed).long()


@EXERCISE.wrong(stage="form", says="one integer for each token")
def says_only_whether_it_is_a_mistake(logits, expert_ids, delta):
    return _gap(logits, expert_ids) > 2 * delta


@EXERCISE.wrong(stage="the best choice", says="The order within a row was compared")
def compares_positions(logits, expert_ids, delta):
    best = logits.topk(expert_ids.shape[1]).indices
    differs = (best != expert_ids).any(dim=-1)
    return torch.where(differs, _verdicts(_gap(logits, expert_ids), 2 * delta).clamp(min=1), 0)


@EXERCISE.wrong(stage="the best choice", says="a gap of 0 is no gap")
def trusts_one_topk(logits, expert_ids, delta):
    best = _is_chosen(
        logits, logits.argsort(dim=-1, descending=True, stable=True)[:, : expert_ids.shape[1]]
    )
    differs = (best != _is_chosen(logits, expert_ids)).any(dim=-1)
    return torch.where(differs, 1 + (_gap(logits, expert_ids) > 2 * delta).long(), 0)


@EXERCISE.wrong(stage="neighbours", says="One delta was counted where two meet")
def allows_one_delta(logits, expert_ids, delta):
    return _verdicts(_gap(logits, expert_ids), delta)


@EXERCISE.wrong(stage="neighbours", says="among the mistakes")
def calls_the_border_a_mistake(logits, expert_ids, delta):
    gap = _gap(logits, expert_ids)
    return (gap > 0).long() + ((gap > 0) & (gap >= 2 * delta)).long()


@EXERCISE.wrong(stage="not the neighbour", says="Judge the choice that was made")
def judges_the_margin(logits, expert_ids, delta):
    top_k = expert_ids.shape[1]
    if top_k == logits.shape[1]:
        return torch.zeros(len(logits), dtype=torch.long)
    best = logits.sort(dim=-1, descending=True).values
    margin = best[:, top_k - 1] - best[:, top_k]
    return torch.where(_gap(logits, expert_ids) > 0, 1 + (margin > 2 * delta).long(), 0)


@EXERCISE.wrong(stage="not the neighbour", says="rows may stand in any order")
def looks_at_the_last_column(logits, expert_ids, delta):
    chosen = _is_chosen(logits, expert_ids)
    last = logits.gather(1, expert_ids[:, -1:])[:, 0]
    outside = logits.masked_fill(chosen, -torch.inf).amax(dim=-1)
    is_best = _gap(logits, expert_ids) <= 0
    return torch.where(is_best, 0, _verdicts(outside - last, 2 * delta))


@EXERCISE.wrong(stage="each token its own delta", says="token by token")
def takes_the_largest_delta_for_all(logits, expert_ids, delta):
    return _verdicts(_gap(logits, expert_ids), 2 * delta.max())


@EXERCISE.wrong(stage="each token its own delta", says="with nothing added")
def adds_a_tolerance(logits, expert_ids, delta):
    gap = _gap(logits, expert_ids)
    return (gap > 1e-3).long() + (gap > 2 * delta + 1e-3).long()


@EXERCISE.right
def by_moving_the_logits(logits, expert_ids, delta):
    helped = torch.where(_is_chosen(logits, expert_ids), 1.0, -1.0).double()
    verdicts = []
    for push in (torch.zeros_like(delta), delta):
        moved = logits.double() + helped * push.double()[:, None]
        verdicts.append(_gap(moved, expert_ids) > 0)
    return verdicts[0].int() + verdicts[1].int()


@EXERCISE.right
def with_python_sets(logits, expert_ids, delta):
    out = []
    for row, ids, far in zip(logits.tolist(), expert_ids.tolist(), delta.tolist(), strict=True):
        others = set(range(len(row))) - set(ids)
        gap = max((row[o] - row[i] for o in others for i in ids), default=0.0)
        out.append(0 if gap <= 0 else 1 if gap <= 2 * far else 2)
    return torch.tensor(out)


@EXERCISE.right
def by_sorting_both_parts(logits, expert_ids, delta):
    inside = logits.gather(1, expert_ids).sort(dim=-1).values[:, 0]
    outside = logits.scatter(1, expert_ids, -torch.inf).sort(dim=-1).values[:, -1]
    gap = outside - inside
    return torch.where(gap <= 0, 0, torch.where(gap <= 2 * delta, 1, 2))


@EXERCISE.wrong(stage="far from zero", says="stands for nobody")
def fills_up_with_a_number(logits, expert_ids, delta):
    chosen = _is_chosen(logits, expert_ids)
    inside = logits.masked_fill(~chosen, 99.0).amin(dim=-1)
    outside = logits.masked_fill(chosen, -99.0).amax(dim=-1)
    return torch.where(chosen.all(dim=-1), 0, _verdicts(outside - inside, 2 * delta))
