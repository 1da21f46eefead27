"""Exercise 7.6: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch07_modern_moe.sequence_balance_loss import EXERCISE
from moe_teach.ops.losses import load_balance_loss
from moe_teach.ops.losses import sequence_balance_loss as library_loss
from moe_teach.types import Routing


def _load(expert_ids, n_experts):
    return one_hot(expert_ids, n_experts).sum((1, 2)) / expert_ids[0].numel()


def _shares(probs):
    return (probs / probs.sum(-1, keepdim=True)).mean(1)


@EXERCISE.wrong(stage="a scalar", says="Average over the sequences")
def one_number_per_sequence(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs)).sum(-1)


@EXERCISE.wrong(stage="one sequence", says="The factor E is missing")
def forgets_the_factor(probs, expert_ids):
    return (_load(expert_ids, probs.shape[-1]) * _shares(probs)).sum(-1).mean()


@EXERCISE.wrong(stage="one sequence", says="K times too large")
def divides_by_tokens_only(probs, expert_ids):
    n = probs.shape[-1]
    load = one_hot(expert_ids, n).sum((1, 2)) / expert_ids.shape[1]
    return n * (load * _shares(probs)).sum(-1).mean()


@EXERCISE.wrong(stage="one sequence", says="Only the first choice")
def counts_the_first_choice(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids[..., :1], n) * _shares(probs)).sum(-1).mean()


@EXERCISE.wrong(stage="one sequence", says="Average both over the sequence first")
def multiplies_token_by_token(probs, expert_ids):
    n = probs.shape[-1]
    chosen = one_hot(expert_ids, n).float().mean(2)
    return n * (chosen * probs / probs.sum(-1, keepdim=True)).sum(-1).mean()


@EXERCISE.wrong(stage="one sequence", says="these are counts")
def forgets_to_divide_the_counts(probs, expert_ids):
    n = probs.shape[-1]
    return n * (one_hot(expert_ids, n).sum((1, 2)) * _shares(probs)).sum(-1).mean()


@EXERCISE.wrong(stage="several sequences", says="the loss of the whole batch")
def pools_the_batch(probs, expert_ids):
    n = probs.shape[-1]
    flat = probs.flatten(0, 1), expert_ids.flatten(0, 1)
    load = one_hot(flat[1], n).sum((0, 1)) / flat[1].numel()
    return n * (load * (flat[0] / flat[0].sum(-1, keepdim=True)).mean(0)).sum()


@EXERCISE.wrong(stage="several sequences", says="is their *mean*")
def adds_the_sequences_up(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs)).sum()


@EXERCISE.wrong(stage="sigmoid scores", says="scoring everybody low")
def trusts_the_scores(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * probs.mean(1)).sum(-1).mean()


@EXERCISE.wrong(stage="gradient", says="The result carries no gradient")
def counts_without_gradient(probs, expert_ids):
    n = probs.shape[-1]
    return n * (_load(expert_ids, n) * _shares(probs.detach())).sum(-1).mean()


@EXERCISE.wrong(stage="gradient", says="the gradient of `probs` is another one")
def divides_by_a_detached_sum(probs, expert_ids):
    n = probs.shape[-1]
    shares = (probs / probs.sum(-1, keepdim=True).detach()).mean(1)
    return n * (_load(expert_ids, n) * shares).sum(-1).mean()


@EXERCISE.wrong(stage="scores of any size", says="held above a bound")
def adds_a_millionth(probs, expert_ids):
    n = probs.shape[-1]
    shares = (probs / (probs.sum(-1, keepdim=True) + 1e-6)).mean(1)
    return n * (_load(expert_ids, n) * shares).sum(-1).mean()


@EXERCISE.wrong(stage="sigmoid scores", says="before the mean over the tokens is taken")
def divides_after_the_mean(probs, expert_ids):
    n, mean = probs.shape[-1], probs.mean(1)
    return n * (_load(expert_ids, n) * mean / mean.sum(-1, keepdim=True)).sum(-1).mean()


@EXERCISE.right
def one_sequence_at_a_time(probs, expert_ids):
    losses = []
    for scores, ids in zip(probs, expert_ids, strict=True):
        shares = scores / scores.sum(-1, keepdim=True)
        losses.append(load_balance_loss(Routing(scores.log(), shares, scores.gather(-1, ids), ids)))
    return torch.stack(losses).mean()


@EXERCISE.right
def with_the_library(probs, expert_ids):
    flat, ids = probs.flatten(0, 1), expert_ids.flatten(0, 1)
    return library_loss(Routing(flat.log(), flat, flat.gather(-1, ids), ids), len(probs))
