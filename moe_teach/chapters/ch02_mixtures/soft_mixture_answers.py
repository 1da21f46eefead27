"""Exercise 2.2: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.soft_mixture import EXERCISE


@EXERCISE.wrong(stage="shape", says="sum over dimension 0")
def weighs_without_a_sum(blends, totals):
    return totals.softmax(0)[..., None] * blends


@EXERCISE.wrong(stage="values", says="plain mean")
def plain_mean(blends, totals):
    return blends.mean(0) + 0 * totals.sum()


@EXERCISE.wrong(stage="values", says="need not even be positive")
def totals_as_weights(blends, totals):
    return (totals[..., None] * blends).sum(0)


@EXERCISE.wrong(stage="values", says="over the tokens")
def softmax_over_the_tokens(blends, totals):
    return (totals.softmax(-1)[..., None] * blends).sum(0)


@EXERCISE.wrong(stage="values", says="do not sum to one")
def forgets_to_divide(blends, totals):
    return (totals.exp()[..., None] * blends).sum(0)


@EXERCISE.wrong(stage="values", says="another blend")
def loudest_machine_alone(blends, totals):
    return blends[totals.argmax(0), torch.arange(blends.shape[1])] + 0 * totals.sum()


@EXERCISE.wrong(stage="silent machines", says="0 times NaN is NaN")
def multiplies_junk_by_zero(blends, totals):
    return (totals.softmax(0)[..., None] * blends).sum(0)


@EXERCISE.wrong(stage="other inputs", says="infinite in float32")
def exponentials_as_they_are(blends, totals):
    powers = totals.exp()[..., None]
    return (powers * blends.nan_to_num()).sum(0) / powers.sum(0)


@EXERCISE.wrong(stage="other inputs", says="rounded to float32")
def answers_in_float32(blends, totals):
    return by_matmul(blends.float(), totals.float())


@EXERCISE.wrong(stage="gradient", says="thrown away afterwards")
def cleans_up_after_the_product(blends, totals):
    weighed = totals.softmax(0)[..., None] * blends
    return weighed.masked_fill(totals.isneginf()[..., None], 0.0).sum(0)


@EXERCISE.wrong(stage="gradient", says="not connected with `totals`")
def weights_that_cannot_learn(blends, totals):
    return by_matmul(blends, totals.detach())


@EXERCISE.right
def by_matmul(blends, totals):
    heard = blends.nan_to_num().transpose(0, 1)  # (T, M, O)
    return (totals.softmax(0).T[:, None] @ heard)[:, 0]


@EXERCISE.right
def machine_by_machine(blends, totals):
    loudest = totals.amax(0).double()
    above = below = 0.0
    for theirs, total in zip(blends, totals, strict=True):
        power = (total.double() - loudest).exp()[:, None]
        above = above + power * torch.where(power > 0, theirs, 0.0)
        below = below + power
    return above / below
