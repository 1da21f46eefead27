"""Exercise 4.9: choices that fall short, with what they must be told, and others that reach it."""

import torch

from moe_teach.chapters.ch04_dispatch.choose_now import EXERCISE


def _best(worth, used, capacity, top_k):
    best, ids = worth.masked_fill(used >= capacity, -1.0).topk(top_k)
    return ids[best > 0]


def _priced(probs, past, used, capacity, n_tokens, top_k, strength=5.0):
    ahead = used / max(capacity, 1) - len(past) / n_tokens
    return _best(probs - strength * ahead.clamp(min=0), used, capacity, top_k)


@EXERCISE.wrong(stage="what comes back", says="must be a torch tensor")
def lists_the_experts(probs, past, used, capacity, n_tokens, top_k):
    return _best(probs, used, capacity, top_k).tolist()


@EXERCISE.wrong(stage="what comes back", says="one axis, in int64")
def marks_the_experts(probs, past, used, capacity, n_tokens, top_k):
    return torch.zeros_like(probs, dtype=torch.bool).index_fill(
        0, _best(probs, used, capacity, top_k), True
    )


@EXERCISE.wrong(stage="what comes back", says="has no place left")
def never_looks_at_the_places(probs, past, used, capacity, n_tokens, top_k):
    return probs.topk(top_k).indices


@EXERCISE.wrong(stage="what comes back", says="more than top_k experts")
def takes_whoever_has_room(probs, past, used, capacity, n_tokens, top_k):
    return (used < capacity).nonzero()[:, 0]


@EXERCISE.wrong(stage="what comes back", says="different ones, from 0")
def takes_the_best_twice(probs, past, used, capacity, n_tokens, top_k):
    return _best(probs, used, capacity, top_k)[:1].repeat(top_k)


@EXERCISE.wrong(stage="the same again", says="draws by lot")
def throws_a_coin(probs, past, used, capacity, n_tokens, top_k):
    ids = _best(probs, used, capacity, top_k)
    return ids[torch.rand(len(ids)) < 0.9]


@EXERCISE.wrong(stage="goal", says="the plain way reaches")
def first_come_first_served(probs, past, used, capacity, n_tokens, top_k):
    ids = probs.topk(top_k).indices
    return ids[used[ids] < capacity]


@EXERCISE.wrong(stage="goal", says="66.56%")
def goes_where_there_is_room(probs, past, used, capacity, n_tokens, top_k):
    return _best(probs, used, capacity, top_k)


@EXERCISE.right
def with_a_steep_price(probs, past, used, capacity, n_tokens, top_k):
    return _priced(probs, past, used, capacity, n_tokens, top_k, strength=10.0)


@EXERCISE.right
def with_prices_found_in_the_past(probs, past, used, capacity, n_tokens, top_k):
    price, pace = torch.zeros_like(probs), (capacity - used) / (n_tokens - len(past))
    for step in range(20 if len(past) else 0):
        worth, ids = (past - price).topk(top_k)
        rate = torch.bincount(ids[worth > 0], minlength=len(price)) / len(past)
        price = (price + 0.3 / (1 + step) ** 0.5 * (rate - pace)).clamp(min=0)
    return _best(probs - price, used, capacity, top_k)
