"""Exercise 2.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.answer_parts import errors_of
from moe_teach.chapters.ch02_mixtures.competitive_loss import EXERCISE


@EXERCISE.wrong(stage="shape", says="mean over the tokens at the end")
def one_number_per_token(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets)).sum(-1)


@EXERCISE.wrong(stage="values", says="cooperative error (1.1)")
def compares_the_blend(outputs, logits, targets):
    blend = (logits.softmax(-1)[..., None] * outputs).sum(1)
    return (targets - blend).square().sum(-1).mean()


@EXERCISE.wrong(stage="values", says="not a mean")
def means_over_the_outputs(outputs, logits, targets):
    errors = (targets.unsqueeze(1) - outputs).square().mean(-1)
    return (logits.softmax(-1) * errors).sum(-1).mean()


@EXERCISE.wrong(stage="values", says="Check the three sums")
def sums_over_the_tokens(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets)).sum() * 1.0000001 + 0.001


@EXERCISE.wrong(stage="gradient", says="not connected with `logits`")
def gates_without_gradient(outputs, logits, targets):
    return (logits.detach().softmax(-1) * errors_of(outputs, targets)).sum(-1).mean()


@EXERCISE.wrong(stage="gradient", says="not connected with `targets`")
def targets_without_gradient(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets.detach())).sum(-1).mean()


@EXERCISE.right
def expanded_square(outputs, logits, targets):
    errors = targets.square().sum(-1, keepdim=True) + outputs.square().sum(-1)
    errors = errors - 2 * (outputs @ targets[..., None])[..., 0]
    return (logits.softmax(-1) * errors).sum() / len(targets)


@EXERCISE.right
def token_by_token(outputs, logits, targets):
    losses = [
        (gates.softmax(-1) * (target - own).square().sum(-1)).sum()
        for own, gates, target in zip(outputs, logits, targets, strict=True)
    ]
    return torch.stack(losses).mean()


@EXERCISE.wrong(stage="shape", says="it also cuts the gradient")
def loss_as_a_number(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets)).sum(-1).mean().item()


@EXERCISE.wrong(stage="values", says="without a dimension")
def mean_over_everything(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets)).mean()


@EXERCISE.wrong(stage="values", says="This is the sum over the tokens")
def sum_over_everything(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets)).sum()


@EXERCISE.wrong(stage="values", says="has their squares")
def forgets_the_square(outputs, logits, targets):
    return (logits.softmax(-1) * errors_of(outputs, targets).sqrt()).sum(-1).mean()


@EXERCISE.wrong(stage="values", says="logits themselves were used as gates")
def weighs_with_logits(outputs, logits, targets):
    errors = (outputs - targets[:, None]).square().sum(dim=-1)
    return (logits * errors).sum(dim=-1).mean()
