"""Exercise 11.6: scores that lose too much, and others that reach the goal."""

import torch

from moe_teach.chapters.ch11_reading_the_router.experts_to_keep import EXERCISE, most


@EXERCISE.wrong(stage="goal", says="The goal is at most 0.37")
def by_load(counts, gates, damage, n_keep):
    return most(counts, n_keep)


@EXERCISE.wrong(stage="goal", says="Load counts visits")
def by_gates(counts, gates, damage, n_keep):
    return most(gates, n_keep)


@EXERCISE.wrong(stage="goal", says="0.375")
def by_damage(counts, gates, damage, n_keep):
    return most(damage, n_keep)


@EXERCISE.wrong(stage="a table that can run", says="Keep the two best of each layer first")
def the_best_of_all(counts, gates, damage, n_keep):
    kept = torch.zeros_like(counts, dtype=torch.bool)
    kept.view(-1)[counts.flatten().topk(n_keep).indices] = True
    return kept


@EXERCISE.wrong(stage="a table that can run", says="what was kept first was not counted")
def two_more(counts, gates, damage, n_keep):
    return most(damage, min(counts.numel(), n_keep + 2)) if n_keep < 10 else most(damage, n_keep)


@EXERCISE.wrong(stage="a table that can run", says="Scores came back")
def the_scores(counts, gates, damage, n_keep):
    return damage * gates


@EXERCISE.wrong(stage="a table that can run", says="n_keep was taken for each layer")
def as_many_in_each_layer(counts, gates, damage, n_keep):
    return most(damage, min(counts.numel(), n_keep * len(counts)))


@EXERCISE.wrong(stage="a table that can run", says="The ones and zeros are torch.float32")
def ones_and_zeros(counts, gates, damage, n_keep):
    return most(damage, n_keep).float()


@EXERCISE.wrong(stage="a table that can run", says="Places or numbers of experts")
def places(counts, gates, damage, n_keep):
    return most(damage, n_keep).nonzero()


@EXERCISE.wrong(stage="a table that can run", says="Layers and experts changed places")
def on_its_side(counts, gates, damage, n_keep):
    return most(damage, n_keep).T


@EXERCISE.wrong(stage="a table that can run", says="changed its input")
def clamps_in_place(counts, gates, damage, n_keep):
    return most(damage.clamp_(min=0), n_keep)


@EXERCISE.wrong(stage="the same again", says="Chance is at work")
def drawn(counts, gates, damage, n_keep):
    return most(torch.rand_like(damage), n_keep)


@EXERCISE.right
def damage_times_gates(counts, gates, damage, n_keep):
    return most(damage.clamp(min=0) * gates, n_keep)


@EXERCISE.right
def shares_added(counts, gates, damage, n_keep):
    return most(damage / damage.clamp(min=0).sum() + 0.5 * counts / counts.sum(), n_keep)


@EXERCISE.right
def with_the_shares_of_gates(counts, gates, damage, n_keep):
    return most(damage / damage.clamp(min=0).sum() + gates / gates.sum(), n_keep)
