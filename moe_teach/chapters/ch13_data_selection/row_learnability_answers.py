"""Exercise 13.1: wrong answers with what they must be told, and other right ones."""

import torch
import torch.nn.functional as F

from moe_teach.chapters.ch13_data_selection.row_learnability import EXERCISE
from moe_teach.chapters.ch13_data_selection.row_scores import scored


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


@EXERCISE.wrong(stage="shape", says="over the rows, and the positions are left")
def sums_over_the_rows(learner_logits, reference_logits, targets):
    losses = [_losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)]
    return (losses[0] - losses[1]).sum(0) / (targets != -100).sum(0).clamp(min=1)


@EXERCISE.wrong(stage="full rows", says="divided by each other")
def divides_the_losses(*args, **kwargs):
    return _slipped("ratio", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="in bits")
def counts_bits(*args, **kwargs):
    return _slipped("bits", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="one more than the number")
def divides_by_one_more(*args, **kwargs):
    return _slipped("one more", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="moved on by one place")
def moves_the_targets(*args, **kwargs):
    return _slipped("shifted", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="Word 0 was taken for padding")
def takes_word_0_for_padding(*args, **kwargs):
    return _slipped("zeros", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="Scores below 0 were set to 0")
def keeps_rows_that_are_positive(*args, **kwargs):
    return _slipped("clamped rows", *args, **kwargs)


@EXERCISE.wrong(stage="full rows", says="does not swap axes")
def views_for_transpose(*args, **kwargs):
    return _slipped("axes", *args, **kwargs)


@EXERCISE.wrong(stage="padded rows", says="wherever they lie")
def takes_the_padding_to_be_at_the_end(learner_logits, reference_logits, targets):
    ours, theirs = (
        _losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)
    )
    n_asked = (targets != -100).sum(1, keepdim=True)
    first = torch.arange(targets.shape[1]) < n_asked
    return ((ours - theirs) * first).sum(1) / n_asked[:, 0].clamp(min=1)


@EXERCISE.wrong(stage="padded rows", says="changed its input")
def writes_over_the_padding(learner_logits, reference_logits, targets):
    asked = targets != -100
    targets[~asked] = 0
    ours, theirs = (
        _losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)
    )
    return ((ours - theirs) * asked).sum(1) / asked.sum(1).clamp(min=1)


@EXERCISE.wrong(stage="numbers of any size", says="a ceiling on the loss")
def adds_a_small_number(learner_logits, reference_logits, targets):
    ours, theirs = (
        -(z.detach().float().softmax(-1) + 1e-9).log().gather(-1, targets.clamp(min=0)[..., None])
        for z in (learner_logits, reference_logits)
    )
    asked = targets != -100
    return ((ours - theirs)[..., 0] * asked).sum(1) / asked.sum(1).clamp(min=1)


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


@EXERCISE.right
@torch.no_grad()
def mean_of_what_is_a_number(learner_logits, reference_logits, targets):
    ours, theirs = (
        _losses(z, targets, reduction="none") for z in (learner_logits, reference_logits)
    )
    gap = (ours - theirs).masked_fill(targets == -100, torch.nan)
    return gap.nanmean(1).nan_to_num(0.0)
