"""Exercise 6.2: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch06_load_balancing.router_z_loss import EXERCISE


@EXERCISE.wrong(stage="a number", says="nothing was summed")
def one_loss_per_token(logits):
    return logits.float().logsumexp(-1).square()


@EXERCISE.wrong(stage="value", says="is not squared")
def forgets_the_square(logits):
    return logits.float().logsumexp(-1).mean()


@EXERCISE.wrong(stage="value", says="Take the mean, or")
def sums_over_the_tokens(logits):
    return logits.float().logsumexp(-1).square().sum()


@EXERCISE.wrong(stage="value", says="the mean was squared")
def squares_the_mean(logits):
    return logits.float().logsumexp(-1).mean().square()


@EXERCISE.wrong(stage="value", says="ran over the tokens")
def sums_along_the_wrong_axis(logits):
    return logits.float().logsumexp(0).square().mean()


@EXERCISE.wrong(stage="value", says="the squared logits themselves")
def squares_the_logits(logits):
    return logits.float().square().mean()


@EXERCISE.wrong(stage="value", says="No softmax before")
def takes_probabilities(logits):
    return logits.float().softmax(-1).logsumexp(-1).square().mean()


@EXERCISE.wrong(stage="value", says="leaves no trace")
def takes_log_probabilities(logits):
    return logits.float().log_softmax(-1).square().mean()


@EXERCISE.wrong(stage="large logits", says="exp(1000) is infinite")
def overflows(logits):
    return logits.float().exp().sum(-1).log().square().mean()


@EXERCISE.wrong(stage="large logits", says="the same for all tokens")
def clamps_the_logits(logits):
    return logits.float().clamp(-100, 100).logsumexp(-1).square().mean()


@EXERCISE.wrong(stage="large logits", says="One maximum was subtracted for all")
def subtracts_one_maximum_for_all(logits):
    top = logits.float().max()
    return ((logits.float() - top).exp().sum(-1).log() + top).square().mean()


@EXERCISE.wrong(stage="float32", says="float16 ends at 65,504")
def rounds_the_square(logits):
    return logits.logsumexp(-1).square().float().mean()


@EXERCISE.wrong(stage="float32", says="the loss is at least in float32")
def computes_in_bfloat16(logits):
    return logits.logsumexp(-1).square().mean()


@EXERCISE.wrong(stage="gradient", says="The result carries no gradient")
def under_no_grad(logits):
    with torch.no_grad():
        return logits.float().logsumexp(-1).square().mean()


@EXERCISE.right
def by_subtracting_the_maximum(logits):
    precise = logits.float()
    top = precise.amax(-1, keepdim=True)
    log_total = (precise - top).exp().sum(-1).log() + top[:, 0]
    return (log_total**2).sum() / len(logits)


@EXERCISE.right
def in_float64_token_by_token(logits):
    totals = [torch.logsumexp(row, dim=0) ** 2 for row in logits.double()]
    return torch.stack(totals).mean()


@EXERCISE.right
def keeps_both_axes(logits):
    return logits.double().logsumexp(-1, keepdim=True).square().mean(0, keepdim=True)


@EXERCISE.right
def by_what_log_softmax_takes_away(logits):
    precise = logits.float()
    return (precise - precise.log_softmax(-1))[:, 0].pow(2).mean()
