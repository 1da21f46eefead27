"""Exercise 3.6: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch03_router.changed_share import EXERCISE


@EXERCISE.wrong(stage="a number", says="share of the *unchanged*")
def counts_the_unchanged(expert_ids_a, expert_ids_b):
    same = expert_ids_a.sort(-1).values == expert_ids_b.sort(-1).values
    return same.all(-1).float().mean().item()


@EXERCISE.wrong(stage="order", says="Compare sets, not positions")
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
