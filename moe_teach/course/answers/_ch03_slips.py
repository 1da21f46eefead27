"""Chapter 03: small slips of the hand that earn a sentence of their own."""

import torch
from torch.nn.functional import softplus

from moe_teach.judging.exercise import wrong


@wrong("3.1", stage="float32", says="came in float64")
def computes_in_float64(logits, top_k, normalize_gates=True):
    gates, ids = logits.double().softmax(-1).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates), ids


def _noisy(logits, noise_logits, training, generator):
    noise = torch.randn(logits.shape, generator=generator)
    return logits + noise * softplus(noise_logits) if training else logits


@wrong("3.2", stage="evaluation", says="among all experts")
def probabilities_of_all(logits, noise_logits, top_k, training, generator=None):
    return tuple(_noisy(logits, noise_logits, training, generator).softmax(-1).topk(top_k))


@wrong("3.2", stage="repeatable", says="a seed inside your function")
def seeds_by_itself(logits, noise_logits, top_k, training, generator=None):
    own = torch.Generator().manual_seed(0)
    values, ids = _noisy(logits, noise_logits, training, own).topk(top_k)
    return values.softmax(-1), ids


@wrong("3.2", stage="a draw for each", says="the gates come from the clean ones")
def gates_from_clean_logits(logits, noise_logits, top_k, training, generator=None):
    ids = _noisy(logits, noise_logits, training, generator).topk(top_k).indices
    return logits.gather(1, ids).softmax(-1), ids


@wrong("3.3", stage="choice", says="take the sigmoid")
def scores_by_softmax(logits, expert_bias, top_k, gate_scale=1.0):
    probs = logits.softmax(-1)
    ids = (probs + expert_bias).topk(top_k).indices
    gates = probs.gather(1, ids)
    return gates / gates.sum(-1, keepdim=True) * gate_scale, ids


@wrong("3.4", stage="dead routers", says="Look at `loss.requires_grad`")
def asks_the_dead(route, w_router, x, expert_out, target):
    w = w_router.clone().requires_grad_()
    gates, ids = route(x @ w.T)
    chosen = expert_out[torch.arange(len(x))[:, None], ids]
    (((gates[..., None] * chosen).sum(1) - target) ** 2).mean().backward()
    return w.grad.norm().item()


@wrong("3.5", stage="everyone chosen", says="no score comes after")
def reads_past_the_end(scores, top_k):
    values, ids = scores.sort(dim=-1, descending=True, stable=True)
    return ids[:, :top_k], values[:, top_k - 1] - values[:, top_k]


@wrong("3.6", stage="a number", says="divided by all of them")
def counts_instead_of_sharing(expert_ids_a, expert_ids_b):
    differs = expert_ids_a.sort(-1).values != expert_ids_b.sort(-1).values
    return int(differs.any(-1).sum())
