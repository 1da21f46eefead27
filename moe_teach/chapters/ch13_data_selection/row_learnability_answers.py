"""Exercise 13.1: wrong answers with what they must be told, and other right ones."""

import torch
import torch.nn.functional as F

from moe_teach.chapters.ch13_data_selection.row_learnability import EXERCISE, scored


def _slipped(slip, learner_logits, reference_logits, targets):
    given = {"learner_logits": learner_logits, "reference_logits": reference_logits}
    return scored(given | {"targets": targets}, slip)


def _losses(logits, targets, **settings):
    return F.cross_entropy(logits.detach().float().transpose(1, 2), targets, **settings)


@EXERCISE.wrong(stage="shape", says="The mean went over the rows, too")
def one_number_for_all(learner_logits, reference_logits, targets):
    return _losses(learner_logits, targets) - _losses(reference_logits, targets)


@EXERCISE.wrong(stage="shape", says="for each position or for each word")
def leaves_the_positions(learner_logits, reference_logits, targets):
    losses = [_losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)]
    return losses[0] - losses[1]


@EXERCISE.wrong(stage="full rows", says="The reference's loss stands first")
def prefers_what_the_reference_lacks(*args, **kwargs):
    return _slipped("sign", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="the learner's loss alone")
def takes_what_is_hard(*args, **kwargs):
    return _slipped("learner", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="The learner was not asked")
def takes_what_is_easy(*args, **kwargs):
    return _slipped("reference", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="so that long rows win")
def sums(*args, **kwargs):
    return _slipped("sum", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="Perplexities were subtracted")
def subtracts_perplexities(*args, **kwargs):
    return _slipped("words", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="cut off at 0")
def keeps_what_is_positive(*args, **kwargs):
    return _slipped("clamped", *args, **kwargs)


@EXERCISE.wrong(stage="padded rows", says="divided by the padded length")
def divides_by_the_length(*args, **kwargs):
    return _slipped("length", *args, **kwargs)


@EXERCISE.wrong(stage="padded rows", says="as if it were text")
def scores_the_padding(*args, **kwargs):
    return _slipped("padding", *args, **kwargs)


@EXERCISE.wrong(stage="padded rows", says="mean number of targets of the batch")
def divides_by_the_mean_of_the_batch(*args, **kwargs):
    return _slipped("batch", *args, **kwargs)


@EXERCISE.wrong(stage="an empty row", says="0 / 0 is NaN")
def divides_by_nothing(learner_logits, reference_logits, targets):
    losses = [_losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)]
    return (losses[0] - losses[1]).sum(1) / (targets != -100).sum(1)


@EXERCISE.wrong(stage="numbers of any size", says="exp(300) is infinite")
def writes_the_softmax_out(learner_logits, reference_logits, targets):
    losses = []
    for z in (learner_logits, reference_logits):
        p = z.float().exp() / z.float().exp().sum(-1, keepdim=True)
        losses.append(-p.gather(-1, targets.clamp(min=0)[..., None])[..., 0].log())
    asked = targets != -100
    return torch.where(asked, losses[0] - losses[1], 0).sum(1) / asked.sum(1).clamp(min=1)


@EXERCISE.wrong(stage="numbers of any size", says="computed in bfloat16")
def stays_in_few_bits(learner_logits, reference_logits, targets):
    asked = targets != -100
    at = targets.clamp(min=0)[..., None]
    ours, theirs = (
        z.log_softmax(-1).gather(-1, at)[..., 0] for z in (learner_logits, reference_logits)
    )
    return ((theirs - ours) * asked).sum(1).float() / asked.sum(1).clamp(min=1)


@EXERCISE.wrong(stage="no gradient", says="no part of it")
def carries_a_gradient(learner_logits, reference_logits, targets):
    losses = [
        F.cross_entropy(z.float().transpose(1, 2), targets, reduction="none")
        for z in (learner_logits, reference_logits)
    ]
    return (losses[0] - losses[1]).sum(1) / (targets != -100).sum(1).clamp(min=1)


@EXERCISE.right
def row_by_row(learner_logits, reference_logits, targets):
    scores = []
    for ours, theirs, row in zip(learner_logits, reference_logits, targets, strict=True):
        asked = row != -100
        if not asked.any():
            scores.append(torch.tensor(0.0))
            continue
        pair = [F.cross_entropy(z[asked].detach().float(), row[asked]) for z in (ours, theirs)]
        scores.append(pair[0] - pair[1])
    return torch.stack(scores).float()


@EXERCISE.right
@torch.no_grad()
def from_the_normaliser(learner_logits, reference_logits, targets):
    asked, at = targets != -100, targets.clamp(min=0)[..., None]
    total = 0
    for sign, z in ((1, learner_logits.double()), (-1, reference_logits.double())):
        total = total + sign * (z.logsumexp(-1) - z.gather(-1, at)[..., 0])
    return ((total * asked).sum(1) / asked.sum(1).clamp(min=1)).float()
