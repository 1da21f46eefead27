"""Exercise 5.3: wrong answers with what they must be told, and other right ones."""

import math

import numpy as np
import torch
from torch.nn import functional

from moe_teach.chapters.ch05_language_model.initial_loss_test import EXERCISE


def _entropy(logits, targets):
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _loss(model, ids):
    return _entropy(model(ids)[:, :-1], ids[:, 1:]).item()


def _near(loss, vocab_size, tolerance):
    return abs(loss - math.log(vocab_size)) <= tolerance


def _causal(model, ids, vocab_size):
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    return torch.allclose(model(ids)[:, :-1], model(other)[:, :-1], atol=1e-5)


def _all(model, ids, vocab_size, tolerance, loss):
    return loss, _near(loss, vocab_size, tolerance), _causal(model, ids, vocab_size)


@EXERCISE.wrong(stage="three results", says="a plain float and two plain bools")
def returns_tensors(model, token_ids, vocab_size, tolerance=0.2):
    loss = _entropy(model(token_ids)[:, :-1], token_ids[:, 1:])
    return loss, _near(loss, vocab_size, tolerance), _causal(model, token_ids, vocab_size)


@EXERCISE.wrong(stage="three results", says="Return three things")
def all_the_same(model, token_ids, vocab_size, tolerance=0.2):
    return _near(_loss(model, token_ids), vocab_size, tolerance)


@EXERCISE.wrong(stage="the loss", says="Nothing is shifted")
def forgets_the_shift(model, token_ids, vocab_size, tolerance=0.2):
    loss = _entropy(model(token_ids), token_ids).item()
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="The shift goes the wrong way")
def shifts_backwards(model, token_ids, vocab_size, tolerance=0.2):
    loss = _entropy(model(token_ids)[:, 1:], token_ids[:, :-1]).item()
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="The targets were rolled")
def rolls_the_targets(model, token_ids, vocab_size, tolerance=0.2):
    loss = _entropy(model(token_ids), token_ids.roll(-1, dims=1)).item()
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="This is the sum")
def sums_the_loss(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids) * token_ids[:, 1:].numel()
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="This is the loss in bits")
def answers_in_bits(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids) / math.log(2)
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="This is the perplexity")
def answers_with_the_perplexity(model, token_ids, vocab_size, tolerance=0.2):
    loss = math.exp(_loss(model, token_ids))
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="the loss", says="The softmax was taken twice")
def takes_softmax_twice(model, token_ids, vocab_size, tolerance=0.2):
    loss = _entropy(model(token_ids)[:, :-1].softmax(-1), token_ids[:, 1:]).item()
    return _all(model, token_ids, vocab_size, tolerance, loss)


@EXERCISE.wrong(stage="near ln V", says="on both sides")
def accepts_any_loss_below(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids)
    near = loss <= math.log(vocab_size) + tolerance
    return loss, near, _causal(model, token_ids, vocab_size)


@EXERCISE.wrong(stage="near ln V", says="not a ratio")
def counts_the_tolerance_in_percent(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids)
    near = abs(loss - math.log2(vocab_size)) <= tolerance
    return loss, near, _causal(model, token_ids, vocab_size)


@EXERCISE.wrong(stage="tolerance", says="a number of your own")
def fixes_the_tolerance(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids)
    return loss, _near(loss, vocab_size, 0.2), _causal(model, token_ids, vocab_size)


@EXERCISE.wrong(stage="causal", says="because it reads the token you replaced")
def calls_the_last_position_future(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    other = token_ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    return loss, near, torch.allclose(model(token_ids), model(other))


@EXERCISE.wrong(stage="a cheat", says="stood there already")
def replaces_by_a_constant(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    other = token_ids.clone()
    other[:, -1] = vocab_size - 1
    same = torch.allclose(model(token_ids)[:, :-1], model(other)[:, :-1], atol=1e-5)
    return loss, near, same


@EXERCISE.wrong(stage="causal", says="judged by the size of a loss")
def trusts_the_loss(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids)
    near = _near(loss, vocab_size, tolerance)
    return loss, near, near


@EXERCISE.wrong(stage="a cheat", says="compare the *logits*")
def looks_at_the_first_choice(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    other = token_ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    return loss, near, torch.allclose(model(token_ids)[:, :-1], model(other)[:, :-1], atol=0.5)


def _moved(model, ids, vocab_size):
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % vocab_size
    return (model(ids) - model(other))[:, :-1].abs()


@EXERCISE.wrong(stage="tolerance", says="farther from ln V than")
def measures_the_distance_as_a_share(model, token_ids, vocab_size, tolerance=0.2):
    loss = _loss(model, token_ids)
    near = abs(loss / math.log(vocab_size) - 1) <= tolerance
    return loss, near, _causal(model, token_ids, vocab_size)


@EXERCISE.wrong(stage="tolerance", says="`tolerance` is 0.2")
def has_another_default(model, token_ids, vocab_size, tolerance=0.5):
    return _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))


@EXERCISE.wrong(stage="causal", says="a few millionths")
def allows_no_rounding(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    return loss, near, not bool(_moved(model, token_ids, vocab_size).any())


@EXERCISE.wrong(stage="a leak anywhere", says="In row 1, at position 0")
def replaces_in_the_first_row_only(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    other = token_ids.clone()
    other[0, -1] = (other[0, -1] + 1) % vocab_size
    moved = (model(token_ids) - model(other))[:, :-1].abs().max()
    return loss, near, bool(moved <= 1e-5)


@EXERCISE.wrong(stage="a leak anywhere", says="In row 0, at position 0")
def looks_at_the_neighbour_only(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    return loss, near, bool(_moved(model, token_ids, vocab_size)[:, -1].max() <= 1e-5)


@EXERCISE.wrong(stage="a leak anywhere", says="moves by 5e-05")
def allows_too_much(model, token_ids, vocab_size, tolerance=0.2):
    loss, near, _ = _all(model, token_ids, vocab_size, tolerance, _loss(model, token_ids))
    return loss, near, bool(_moved(model, token_ids, vocab_size).max() <= 1e-3)


@EXERCISE.right
def by_cutting_the_last_token_off(model, token_ids, vocab_size, tolerance=0.2):
    logits = model(token_ids)[:, :-1]
    loss = functional.cross_entropy(logits.transpose(1, 2), token_ids[:, 1:]).item()
    same = torch.allclose(model(token_ids[:, :-1]), logits, atol=1e-5)
    return loss, _near(loss, vocab_size, tolerance), same


@EXERCISE.right
def by_log_softmax_and_gather(model, token_ids, vocab_size, tolerance=0.2):
    with torch.no_grad():
        log_p = model(token_ids).log_softmax(dim=-1)[:, :-1]
        loss = -log_p.gather(-1, token_ids[:, 1:, None]).mean().item()
        is_causal = True
        for shift in range(1, vocab_size):
            last = (token_ids[:, -1:] + shift) % vocab_size
            changed = model(torch.cat([token_ids[:, :-1], last], dim=1))[:, :-1]
            is_causal &= bool((changed.log_softmax(-1) - log_p).abs().max() < 1e-5)
    return loss, -tolerance <= loss - math.log(vocab_size) <= tolerance, is_causal


@EXERCISE.right
def in_numpy(model, token_ids, vocab_size, tolerance=0.2):
    logits = model(token_ids).detach().double().numpy()
    targets, asked = token_ids[:, 1:].numpy(), logits[:, :-1]
    top = asked.max(-1)
    chosen = np.take_along_axis(asked, targets[..., None], -1)[..., 0]
    losses = np.log(np.exp(asked - top[..., None]).sum(-1)) + top - chosen
    other = token_ids.clone()
    other[:, -1] = (other[:, -1] - 1) % vocab_size
    moved = np.abs(model(other).detach().numpy()[:, :-1] - asked).max()
    loss = float(losses.mean())
    return loss, bool(abs(loss - np.log(vocab_size)) <= tolerance), bool(moved < 1e-5)
