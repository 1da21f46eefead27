"""Exercise 7.9: wrong answers with what they must be told, and other right ones."""

import itertools

import torch

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import chosen
from moe_teach.chapters.ch07_modern_moe.route_in_room import EXERCISE


def _experts(scores, is_open, top_k):
    is_open = is_open.repeat_interleave(scores.shape[1] // is_open.shape[1], dim=1)
    return scores.masked_fill(~is_open, -1.0).topk(top_k, dim=-1).indices


def _kept(scores, is_open, top_k):
    return scores.gather(1, _experts(scores, is_open, top_k)).sum(-1)


def _needs(scores, top_k, n_groups):
    best = scores.topk(top_k).indices
    alone = torch.zeros_like(scores).scatter(1, best, scores.gather(1, best))
    return alone.view(len(scores), n_groups, -1).sum(-1)


def _in_turn(scores, top_k, n_groups, room, order, how_many=2):
    """Let tokens take their best machines with room, one token after the other."""
    left, is_open = [room] * n_groups, torch.zeros(len(scores), n_groups, dtype=torch.bool)
    need = _needs(scores, top_k, n_groups)
    for token in order:
        ranked = need[token].argsort(descending=True).tolist()
        for machine in [g for g in ranked if left[g]][:how_many]:
            left[machine] -= 1
            is_open[token, machine] = True
    return _experts(scores, is_open, top_k)


@EXERCISE.wrong(stage="goal", says="takes room from one that would have needed it more")
def first_come_first_served(scores, top_k, n_groups, room):
    return _in_turn(scores, top_k, n_groups, room, range(len(scores)))


@EXERCISE.wrong(stage="goal", says="Gate mass kept")
def one_machine_for_each_token(scores, top_k, n_groups, room):
    return _in_turn(scores, top_k, n_groups, room, range(len(scores)), how_many=1)


@EXERCISE.wrong(stage="goal", says="Gate mass kept")
def deals_the_machines_out(scores, top_k, n_groups, room):
    is_open = torch.zeros(len(scores), n_groups, dtype=torch.bool)
    is_open[torch.arange(len(scores)), torch.arange(len(scores)) % n_groups] = True
    return _experts(scores, is_open, top_k)


@EXERCISE.wrong(stage="room", says="`room` has no effect")
def forgets_the_room(scores, top_k, n_groups, room):
    return scores.topk(top_k, dim=-1).indices


@EXERCISE.wrong(stage="room", says="A token counts on every machine")
def limits_tokens_instead_of_machines(scores, top_k, n_groups, room):
    return chosen(scores, top_k, n_groups, min(2, n_groups))


@EXERCISE.wrong(stage="experts", says="the same expert twice")
def lets_machines_choose_and_forgets_who_has_none(scores, top_k, n_groups, room):
    need = _needs(scores, top_k, n_groups)
    is_open = torch.zeros_like(need, dtype=torch.bool)
    is_open.scatter_(0, need.topk(min(room, len(scores)), dim=0).indices, True)
    is_open[1:] &= is_open[1:].cumsum(0) <= 1
    ids = _experts(scores, is_open, top_k)
    is_wide = is_open.repeat_interleave(scores.shape[1] // n_groups, dim=1)
    return torch.where(is_wide.gather(1, ids), ids, ids[:, :1] * 0)


@EXERCISE.wrong(stage="experts", says="no integers of shape")
def returns_the_machines(scores, top_k, n_groups, room):
    return _needs(scores, top_k, n_groups)


@EXERCISE.wrong(stage="experts", says="lie between 0 and E - 1")
def fills_up_with_minus_one(scores, top_k, n_groups, room):
    ids = _in_turn(scores, top_k, n_groups, room, range(len(scores)))
    return torch.where(scores.gather(1, ids) < scores.amax(), ids, -1)


@EXERCISE.right
def by_what_a_machine_adds(scores, top_k, n_groups, room):
    """Open, again and again, the pair that adds most to what its token has already."""
    n_tokens = len(scores)
    left, is_open = [room] * n_groups, torch.zeros(n_tokens, n_groups, dtype=torch.bool)
    gain = _needs(scores, top_k, n_groups)
    closed = torch.eye(n_groups, dtype=torch.bool)
    while sum(left) and gain.max() > -1:
        token, machine = divmod(int(gain.argmax()), n_groups)
        waiting = int((~is_open.any(1)).sum())
        if not left[machine] or (is_open[token].any() and sum(left) <= waiting):
            gain[token, machine] = -1
            continue
        left[machine] -= 1
        is_open[token, machine] = True
        row = scores[token].expand(n_groups, -1)
        gain[token] = _kept(row, is_open[token] | closed, top_k)
        gain[token] -= _kept(row[:1], is_open[token][None], top_k)
        gain[token][is_open[token]] = -1
    return _experts(scores, is_open, top_k)


@EXERCISE.right
def by_prices(scores, top_k, n_groups, room):
    """Charge for places on full machines, let tokens choose, and mend what is still too full."""
    sets = [s for n in (1, 2, 3, 4) for s in itertools.combinations(range(n_groups), n)]
    table = torch.zeros(len(sets), n_groups, dtype=torch.bool)
    for row, members in enumerate(sets):
        table[row, list(members)] = True
    worth = torch.stack([_kept(scores, s.expand(len(scores), -1), top_k) for s in table], dim=1)
    price = torch.zeros(n_groups)
    for step in range(150):
        choice = (worth - table.float() @ price).argmax(1)
        over = (table[choice].sum(0) - room) / room
        price = (price + 0.02 / (1 + step / 40) * over).clamp(min=0)
    is_open = table[choice].clone()
    while bool((is_open.sum(0) > room).any()):
        machine = int((is_open.sum(0) - room).argmax())
        without = is_open.clone()
        without[:, machine] = False
        loss = _kept(scores, is_open, top_k) - _kept(scores, without, top_k)
        loss[~is_open[:, machine]] = 9.0
        loss[~without.any(1)] = 5.0
        token = int(loss.argmin())
        is_open[token, machine] = False
        if not is_open[token].any():
            is_open[token, int((is_open.sum(0) - room).argmin())] = True
    return _experts(scores, is_open, top_k)
