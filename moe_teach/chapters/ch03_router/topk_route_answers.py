"""Exercise 3.1: wrong answers with what they must be told, and other right ones."""

import torch
from torch import Tensor

from moe_teach.chapters.ch03_router.topk_route import EXERCISE


@EXERCISE.wrong(stage="shape", says="values first and indices second")
def swaps_the_results(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(-1).topk(top_k)
    return ids, gates


@EXERCISE.wrong(stage="shape", says="`gates` has another shape")
def keeps_every_gate(logits, top_k, normalize_gates=True):
    probs = logits.float().softmax(-1)
    return probs, probs.topk(top_k).indices


@EXERCISE.wrong(stage="choice", says="not the k most probable")
def softmax_over_the_tokens(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(0).topk(top_k)
    return gates, ids


@EXERCISE.wrong(stage="raw gates", says="among *all* experts")
def always_softmax_after_topk(logits, top_k, normalize_gates=True):
    chosen, ids = logits.float().topk(top_k)
    return chosen.softmax(-1), ids


@EXERCISE.wrong(stage="normalised gates", says="Renormalise them")
def forgets_to_renormalise(logits, top_k, normalize_gates=True):
    return logits.float().softmax(-1).topk(top_k)


@EXERCISE.wrong(stage="normalised gates", says="applied twice")
def renormalises_by_a_second_softmax(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(-1).topk(top_k)
    return (gates.softmax(-1) if normalize_gates else gates), ids


@EXERCISE.wrong(stage="float32", says="ran in low precision")
def scores_in_low_precision(logits, top_k, normalize_gates=True):
    gates, ids = logits.softmax(-1).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates).float(), ids


def _by_sorting(logits: Tensor, top_k: int, normalize: bool) -> tuple[Tensor, Tensor]:
    ids = logits.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
    if normalize:
        return logits.float().gather(-1, ids).softmax(-1), ids
    return logits.float().softmax(-1).gather(-1, ids), ids


@EXERCISE.wrong(stage="gradient", says="could learn")
def cuts_the_gradient(logits, top_k, normalize_gates=True):
    with torch.no_grad():
        return _by_sorting(logits, top_k, normalize_gates)


@EXERCISE.right
def by_sorting_the_logits(logits, top_k, normalize_gates=True):
    return _by_sorting(logits, top_k, normalize_gates)


@EXERCISE.right
def by_repeated_argmax_with_small_ids(logits, top_k, normalize_gates=True):
    probs = logits.to(torch.float32).softmax(-1)
    left, picks = probs.clone(), []
    for _ in range(top_k):
        best = left.argmax(-1, keepdim=True)
        left = left.scatter(-1, best, -1.0)
        picks.append(best)
    ids = torch.cat(picks, dim=-1)
    gates = torch.take_along_dim(probs, ids, dim=-1)
    return (gates / gates.sum(-1)[:, None] if normalize_gates else gates), ids.int()


@EXERCISE.wrong(stage="float32", says="came in float64")
def computes_in_float64(logits, top_k, normalize_gates=True):
    gates, ids = logits.double().softmax(-1).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates), ids


@EXERCISE.wrong(stage="normalised gates", says="Keep the stub's default")
def normalises_only_when_told(logits, top_k, normalize_gates=False):
    return _by_sorting(logits, top_k, normalize_gates)


@EXERCISE.wrong(stage="raw gates", says="where one expert is chosen")
def takes_a_lone_gate_for_one(logits, top_k, normalize_gates=True):
    gates, ids = _by_sorting(logits, top_k, normalize_gates)
    return (torch.ones_like(gates) if top_k == 1 else gates), ids


@EXERCISE.wrong(stage="far from zero", says="largest logit of *each row*")
def subtracts_one_maximum_for_all(logits, top_k, normalize_gates=True):
    powers = (logits.float() - logits.float().max()).exp()
    gates, ids = (powers / powers.sum(-1, keepdim=True)).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates), ids


@EXERCISE.wrong(stage="float32", says="The gates came in float16")
def knows_one_low_precision_only(logits, top_k, normalize_gates=True):
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    ids = logits.float().topk(top_k).indices
    gates = logits.softmax(-1).gather(-1, ids)
    return (gates / gates.sum(-1, keepdim=True) if normalize_gates else gates), ids


@EXERCISE.wrong(stage="gradient", says="is another one")
def divides_by_a_detached_sum(logits, top_k, normalize_gates=True):
    gates, ids = logits.float().softmax(-1).topk(top_k)
    return (gates / gates.sum(-1, keepdim=True).detach() if normalize_gates else gates), ids


@EXERCISE.right
def through_logsumexp(logits, top_k, normalize_gates=True):
    chosen, ids = logits.float().topk(top_k)
    over = chosen if normalize_gates else logits.float()
    return (chosen - over.logsumexp(-1, keepdim=True)).exp(), ids.to(torch.int16)
