"""Exercise 3.6: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.changed_share import EXERCISE


@EXERCISE.wrong(stage="a number", says="share of the *unchanged*")
def counts_the_unchanged(expert_ids_a, expert_ids_b):
    same = expert_ids_a.sort(-1).values == expert_ids_b.sort(-1).values
    return same.all(-1).float().mean().item()


@EXERCISE.wrong(stage="order", says="Positions are compared")
def compares_positions(expert_ids_a, expert_ids_b):
    return (expert_ids_a != expert_ids_b).any(-1).float().mean().item()


@EXERCISE.wrong(stage="share", says="not only the first or their sum")
def compares_sums(expert_ids_a, expert_ids_b):
    return (expert_ids_a.sum(-1) != expert_ids_b.sum(-1)).float().mean().item()


@EXERCISE.wrong(stage="no tokens", says="The mean of nothing is NaN")
def forgets_the_empty_batch(expert_ids_a, expert_ids_b):
    differs = expert_ids_a.sort(-1).values != expert_ids_b.sort(-1).values
    return differs.any(-1).float().mean().item()


@EXERCISE.right
def by_python_sets(expert_ids_a, expert_ids_b):
    rows = list(zip(expert_ids_a.tolist(), expert_ids_b.tolist(), strict=True))
    return sum(set(one) != set(two) for one, two in rows) / max(len(rows), 1)


@EXERCISE.right
def by_looking_each_expert_up(expert_ids_a, expert_ids_b):
    if expert_ids_a.shape[0] == 0:
        return 0.0
    found = (expert_ids_a[:, :, None] == expert_ids_b[:, None, :]).any(-1)
    return 1.0 - found.all(-1).double().mean().item()


@EXERCISE.wrong(stage="a number", says="divided by all of them")
def counts_instead_of_sharing(expert_ids_a, expert_ids_b):
    differs = expert_ids_a.sort(-1).values != expert_ids_b.sort(-1).values
    return int(differs.any(-1).sum())


def _by_key(key):
    """Answer by one number for each set."""

    def answer(expert_ids_a, expert_ids_b):
        pairs = zip(expert_ids_a.tolist(), expert_ids_b.tolist(), strict=True)
        changed = [key(sorted(one)) != key(sorted(other)) for one, other in pairs]
        return sum(changed) / max(len(changed), 1)

    answer.__name__ = key.__name__.strip("_")
    return answer


def _squares(ids):
    return sum(ids), sum(e * e for e in ids)


def _digits(ids):
    return "".join(map(str, ids))


def _base_100(ids):
    return sum(e * 100**place for place, e in enumerate(ids))


def _floats(ids):
    return torch.tensor(ids).float().sort().values.tolist()


def _bits(ids):
    return sum(1 << (e % 64) for e in ids)


for _key, _says in (
    (_squares, "equal sums of squares"),
    (_digits, "the same digits in the same order"),
    (_base_100, "digits in base 100"),
    (_bits, "64 bits have no place"),
    (_floats, "float32 holds every second"),
):
    EXERCISE.wrong(stage="large numbers", says=_says)(_by_key(_key))
