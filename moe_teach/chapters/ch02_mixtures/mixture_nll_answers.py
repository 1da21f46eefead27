"""Exercise 2.4: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch02_mixtures.answer_parts import errors_of
from moe_teach.chapters.ch02_mixtures.mixture_nll import EXERCISE


def _naive(outputs, logits, targets, variance):
    return (logits.softmax(-1) * (-errors_of(outputs, targets) / (2 * variance)).exp()).sum(-1)


@EXERCISE.wrong(stage="shape", says="An axis is left")
def likelihood_per_token(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).log()


@EXERCISE.wrong(stage="values", says="The sign is turned")
def forgets_the_minus(outputs, logits, targets, variance):
    return _naive(outputs, logits, targets, variance).log().mean()


@EXERCISE.wrong(stage="values", says="twice the variance")
def forgets_the_two(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance / 2).log().mean()


@EXERCISE.wrong(stage="values", says="inside the logarithm")
def averages_before_the_logarithm(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).mean().log()


@EXERCISE.wrong(stage="values", says="not the negative log-likelihood")
def forgets_the_gates(outputs, logits, targets, variance):
    return -(-errors_of(outputs, targets) / (2 * variance)).logsumexp(-1).mean() + 0 * logits.sum()


@EXERCISE.wrong(stage="far off", says="Stay in logarithms")
def takes_the_logarithm_last(outputs, logits, targets, variance):
    return -_naive(outputs, logits, targets, variance).log().mean()


@EXERCISE.wrong(stage="far off", says="needs no such help")
def adds_a_little_inside(outputs, logits, targets, variance):
    return -(_naive(outputs, logits, targets, variance) + 1e-35).log().mean()


@EXERCISE.wrong(stage="gradient", says="carries no gradient")
def likelihood_without_a_graph(outputs, logits, targets, variance):
    return in_double_precision(outputs, logits, targets, variance).detach()


@EXERCISE.wrong(stage="gradient", says="not connected with `outputs`")
def experts_that_cannot_learn(outputs, logits, targets, variance):
    return in_double_precision(outputs.detach(), logits, targets, variance)


@EXERCISE.right
def by_subtracting_the_largest(outputs, logits, targets, variance):
    terms = logits.log_softmax(-1) - errors_of(outputs, targets) / (2 * variance)
    peak = terms.max(-1, keepdim=True).values
    return -(peak[:, 0] + (terms - peak).exp().sum(-1).log()).mean()


@EXERCISE.right
def in_double_precision(outputs, logits, targets, variance):
    terms = logits.double() - errors_of(outputs.double(), targets.double()) / (2 * variance)
    return (logits.double().logsumexp(-1) - terms.logsumexp(-1)).mean()


@EXERCISE.wrong(stage="values", says="is the square already")
def squares_the_variance(outputs, logits, targets, variance):
    terms = logits.log_softmax(-1) - errors_of(outputs, targets) / (2 * variance**2)
    return -terms.logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="Normalise them first")
def logits_as_logarithms(outputs, logits, targets, variance):
    return -(logits - errors_of(outputs, targets) / (2 * variance)).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="This is the sum over the tokens")
def sums_over_the_tokens(outputs, logits, targets, variance):
    errors = (outputs - targets[:, None]).square().sum(dim=-1)
    return -(logits.log_softmax(dim=-1) - errors / (2 * variance)).logsumexp(dim=-1).sum()
