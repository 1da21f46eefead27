"""Exercise 2.4: wrong answers with what they must be told, and other right ones."""

import math

import torch

from moe_teach.chapters.ch02_mixtures.answer_parts import errors_of
from moe_teach.chapters.ch02_mixtures.mixture_nll import EXERCISE


def _terms(outputs, logits, targets, log_variances, front=2 * math.pi):
    """Take the logarithm of each gate times density."""
    fit = -errors_of(outputs, targets) / (2 * log_variances.exp())
    norm = outputs.shape[2] / 2 * (log_variances + math.log(front))
    return logits.log_softmax(-1) + fit - norm


def _densities(outputs, targets, log_variances):
    variances = log_variances.exp()
    bells = (-errors_of(outputs, targets) / (2 * variances)).exp()
    return bells / (2 * math.pi * variances) ** (outputs.shape[2] / 2)


@EXERCISE.wrong(stage="shape", says="An axis is left")
def one_loss_per_token(outputs, logits, targets, log_variances):
    return -_terms(outputs, logits, targets, log_variances).logsumexp(-1)


@EXERCISE.wrong(stage="shape", says="it also cuts the gradient")
def loss_as_a_number(outputs, logits, targets, log_variances):
    return -_terms(outputs, logits, targets, log_variances).logsumexp(-1).mean().item()


@EXERCISE.wrong(stage="values", says="falls as a variance grows")
def the_lessons_own_form(outputs, logits, targets, log_variances):
    fit = -errors_of(outputs, targets) / (2 * log_variances.exp())
    return -(logits.log_softmax(-1) + fit).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="O such bells")
def norm_of_a_single_output(outputs, logits, targets, log_variances):
    fit = -errors_of(outputs, targets) / (2 * log_variances.exp())
    norm = (log_variances + math.log(2 * math.pi)) / 2
    return -(logits.log_softmax(-1) + fit - norm).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="off by the same constant")
def forgets_two_pi(outputs, logits, targets, log_variances):
    return -_terms(outputs, logits, targets, log_variances, front=1).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="The sign is turned")
def forgets_the_minus(outputs, logits, targets, log_variances):
    return _terms(outputs, logits, targets, log_variances).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="twice the variance")
def forgets_the_two(outputs, logits, targets, log_variances):
    fit = -errors_of(outputs, targets) / log_variances.exp()
    norm = outputs.shape[2] / 2 * (log_variances + math.log(2 * math.pi))
    return -(logits.log_softmax(-1) + fit - norm).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="Normalise them first")
def logits_as_logarithms(outputs, logits, targets, log_variances):
    terms = _terms(outputs, logits, targets, log_variances)
    return -(terms - logits.log_softmax(-1) + logits).logsumexp(-1).mean()


@EXERCISE.wrong(stage="values", says="inside the logarithm")
def averages_before_the_logarithm(outputs, logits, targets, log_variances):
    return -_terms(outputs, logits, targets, log_variances).exp().sum(-1).mean().log()


@EXERCISE.wrong(stage="values", says="This is the sum over the tokens")
def sums_over_the_tokens(outputs, logits, targets, log_variances):
    return -_terms(outputs, logits, targets, log_variances).logsumexp(-1).sum()


@EXERCISE.wrong(stage="values", says="its logarithm was taken for it")
def logarithm_for_the_variance(outputs, logits, targets, log_variances):
    return in_double_precision(outputs, logits, targets, log_variances.abs().log())


@EXERCISE.wrong(stage="far off", says="Stay in logarithms")
def takes_the_logarithm_last(outputs, logits, targets, log_variances):
    return -(logits.softmax(-1) * _densities(outputs, targets, log_variances)).sum(-1).log().mean()


@EXERCISE.wrong(stage="far off", says="needs no such help")
def adds_a_little_inside(outputs, logits, targets, log_variances):
    densities = logits.softmax(-1) * _densities(outputs, targets, log_variances)
    return -(densities.sum(-1) + 1e-35).log().mean()


@EXERCISE.wrong(stage="far off", says="was rounded to zero, and then")
def logarithm_of_the_softmax(outputs, logits, targets, log_variances):
    terms = _terms(outputs, logits, targets, log_variances)
    return -(terms - logits.log_softmax(-1) + logits.softmax(-1).log()).logsumexp(-1).mean()


@EXERCISE.wrong(stage="extreme noise", says="taken too late")
def power_of_the_variance(outputs, logits, targets, log_variances):
    fit = -errors_of(outputs, targets) / (2 * log_variances.exp())
    norm = ((2 * math.pi * log_variances.exp()) ** (outputs.shape[2] / 2)).log()
    return -(logits.log_softmax(-1) + fit - norm).logsumexp(-1).mean()


@EXERCISE.wrong(stage="gradient", says="carries no gradient")
def likelihood_without_a_graph(outputs, logits, targets, log_variances):
    return in_double_precision(outputs, logits, targets, log_variances).detach()


@EXERCISE.wrong(stage="gradient", says="not connected with `log_variances`")
def noise_that_cannot_learn(outputs, logits, targets, log_variances):
    return in_double_precision(outputs, logits, targets, log_variances.detach())


@EXERCISE.right
def by_subtracting_the_largest(outputs, logits, targets, log_variances):
    terms = _terms(outputs, logits, targets, log_variances)
    peak = terms.max(-1, keepdim=True).values
    return -(peak[:, 0] + (terms - peak).exp().sum(-1).log()).mean()


@EXERCISE.right
def in_double_precision(outputs, logits, targets, log_variances):
    terms = _terms(outputs.double(), logits.double(), targets.double(), log_variances.double())
    return -terms.logsumexp(-1).mean()


@EXERCISE.right
def output_by_output(outputs, logits, targets, log_variances):
    bells = torch.distributions.Normal(outputs, (log_variances / 2).exp()[:, None])
    fit = bells.log_prob(targets[:, None]).sum(-1)
    return -(logits.log_softmax(-1) + fit).logsumexp(-1).mean()
