"""Exercise 3.2: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import softplus

from moe_teach.chapters.ch03_router.noisy_topk_route import EXERCISE


def _noisy(logits, noise, top_k):
    chosen, ids = (logits + noise).topk(top_k)
    return chosen.softmax(-1), ids


def _with_noise(logits, noise_logits, training, generator):
    noise = torch.randn(logits.shape, generator=generator)
    return logits + noise * softplus(noise_logits) if training else logits


@EXERCISE.wrong(stage="evaluation", says="no noise at all")
def noise_in_evaluation_too(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator)
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="repeatable", says="Hand `generator` on")
def ignores_the_generator(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn_like(logits) * softplus(noise_logits) * training
    return _noisy(logits, noise, top_k)


@EXERCISE.wrong(stage="repeatable", says="no noise reaches them")
def clean_gates_of_a_noisy_choice(logits, noise_logits, top_k, training, generator=None):
    if not training:
        return _noisy(logits, 0.0, top_k)
    gates = _noisy(logits, 0.0, top_k)[0]
    return gates, (logits + torch.randn(logits.shape, generator=generator)).topk(top_k).indices


@EXERCISE.wrong(stage="a draw for each", says="the choice was made on the clean logits")
def noisy_gates_of_a_clean_choice(logits, noise_logits, top_k, training, generator=None):
    ids = logits.topk(top_k).indices
    if training:
        noise = torch.randn(logits.shape, generator=generator)
        logits = logits + noise * softplus(noise_logits)
    return logits.gather(-1, ids).softmax(-1), ids


@EXERCISE.wrong(stage="a draw for each", says="Every token met the same noise")
def one_draw_per_expert(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape[1:], generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="size", says="not a uniform number")
def uniform_noise(logits, noise_logits, top_k, training, generator=None):
    noise = torch.rand(logits.shape, generator=generator) * training
    return _noisy(logits, noise * softplus(noise_logits), top_k)


@EXERCISE.wrong(stage="size", says="wrong size")
def forgets_softplus(logits, noise_logits, top_k, training, generator=None):
    noise = torch.randn(logits.shape, generator=generator) * training
    return _noisy(logits, noise * noise_logits, top_k)


@EXERCISE.right
def with_torch_normal(logits, noise_logits, top_k, training, generator=None):
    if training:
        logits = torch.normal(logits, (1 + noise_logits.exp()).log(), generator=generator)
    ids = logits.argsort(-1, descending=True)[:, :top_k]
    return logits.gather(-1, ids).softmax(-1), ids


@EXERCISE.right
def by_masking_with_minus_infinity(logits, noise_logits, top_k, training, generator=None):
    if training:
        noise = torch.empty(logits.shape, dtype=torch.float64).normal_(generator=generator)
        logits = logits + (noise * softplus(noise_logits.double())).to(logits.dtype)
    ids = logits.topk(top_k).indices
    masked = torch.full_like(logits, -torch.inf).scatter(-1, ids, logits.gather(-1, ids))
    return masked.softmax(-1).gather(-1, ids), ids


@EXERCISE.wrong(stage="evaluation", says="among all experts")
def probabilities_of_all(logits, noise_logits, top_k, training, generator=None):
    return tuple(_with_noise(logits, noise_logits, training, generator).softmax(-1).topk(top_k))


@EXERCISE.wrong(stage="repeatable", says="a seed inside your function")
def seeds_by_itself(logits, noise_logits, top_k, training, generator=None):
    own = torch.Generator().manual_seed(0)
    values, ids = _with_noise(logits, noise_logits, training, own).topk(top_k)
    return values.softmax(-1), ids


@EXERCISE.wrong(stage="a draw for each", says="the gates come from the clean ones")
def gates_from_clean_logits(logits, noise_logits, top_k, training, generator=None):
    ids = _with_noise(logits, noise_logits, training, generator).topk(top_k).indices
    return logits.gather(1, ids).softmax(-1), ids
