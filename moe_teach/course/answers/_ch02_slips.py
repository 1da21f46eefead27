"""Chapter 02: small slips of the hand that earn a sentence of their own."""

import torch

from moe_teach.judging.exercise import wrong


@wrong("2.2", stage="shape", says="came as a NumPy array")
def blend_as_an_array(outputs, logits):
    return torch.einsum("te,teo->to", logits.softmax(-1), outputs).numpy()


@wrong("2.2", stage="shape", says="in place")
def weighs_the_callers_outputs(outputs, logits):
    outputs *= logits.softmax(-1)[..., None]
    return outputs.sum(1)


def _errors(outputs, targets):
    return (targets[:, None] - outputs).square().sum(-1)


@wrong("2.3", stage="shape", says="it also cuts the gradient")
def loss_as_a_number(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets)).sum(-1).mean().item()


@wrong("2.3", stage="values", says="without a dimension")
def mean_over_everything(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets)).mean()


@wrong("2.3", stage="values", says="grow with the batch")
def sum_over_everything(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets)).sum()


@wrong("2.3", stage="values", says="has their squares")
def forgets_the_square(outputs, logits, targets):
    return (logits.softmax(-1) * _errors(outputs, targets).sqrt()).sum(-1).mean()


@wrong("2.4", stage="values", says="is the square already")
def squares_the_variance(outputs, logits, targets, variance):
    terms = logits.log_softmax(-1) - _errors(outputs, targets) / (2 * variance**2)
    return -terms.logsumexp(-1).mean()


@wrong("2.4", stage="values", says="Normalise them first")
def logits_as_logarithms(outputs, logits, targets, variance):
    return -(logits - _errors(outputs, targets) / (2 * variance)).logsumexp(-1).mean()
