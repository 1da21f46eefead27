"""Exercise 6.6: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch06_load_balancing.repaired_step import EXERCISE


def _gated(logits, top_k):
    probs = logits.softmax(-1)
    gates, ids = probs.topk(top_k)
    return (gates / gates.sum(-1, keepdim=True) if top_k > 1 else gates), ids, probs


def _logged(probs, ids):
    load = torch.bincount(ids.flatten(), minlength=probs.shape[-1]) / ids.numel()
    return probs.shape[-1] * (load * probs.mean(0)).sum()


@EXERCISE.wrong(stage="gates", says="At k = 1 every gate is the constant 1")
def leaves_the_gate(logits, top_k, task_loss, coef):
    values, ids = logits.topk(top_k)
    logged = _logged(logits.softmax(-1), ids)
    return values.softmax(-1), ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="gates", says="divided by the sum of the chosen")
def never_divides(logits, top_k, task_loss, coef):
    probs = logits.softmax(-1)
    gates, ids = probs.topk(top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="even routing", says="logs k and not 1")
def divides_by_the_tokens(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = top_k * _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="second choices", says="Only first choices are counted")
def counts_the_first_column(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids[:, 0])
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="second choices", says="the mean of the softmax over the tokens")
def averages_the_other_axis(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    load = torch.bincount(ids.flatten(), minlength=probs.shape[-1]) / ids.numel()
    logged = probs.shape[-1] * (load * probs.mean()).sum()
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="what arrives", says="has the right value and no graph")
def adds_a_bare_number(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged.item()


@EXERCISE.wrong(stage="what arrives", says="is not task_loss + coef * logged")
def forgets_the_coefficient(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + logged


@EXERCISE.wrong(stage="task gradient", says="The gates have no graph")
def detaches_the_gates(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates.detach(), ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="task gradient", says="a part of what the result depends on is cut off")
def divides_by_a_detached_sum(logits, top_k, task_loss, coef):
    probs = logits.softmax(-1)
    gates, ids = probs.topk(top_k)
    logged = _logged(probs, ids)
    gates = gates / gates.sum(-1, keepdim=True).detach() if top_k > 1 else gates
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.wrong(stage="task gradient", says="what is logged does not")
def logs_a_bare_number(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged.detach(), task_loss + coef * logged


@EXERCISE.wrong(stage="what arrives", says="not connected with `task_loss`")
def adds_the_value_of_the_task(logits, top_k, task_loss, coef):
    gates, ids, probs = _gated(logits, top_k)
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss.item() + coef * logged


@EXERCISE.wrong(stage="far from zero", says="near 1000 and -1000")
def writes_its_own_softmax(logits, top_k, task_loss, coef):
    probs = logits.exp() / logits.exp().sum(-1, keepdim=True)
    ids = logits.topk(top_k).indices
    gates = probs.gather(-1, ids)
    gates = gates / gates.sum(-1, keepdim=True) if top_k > 1 else gates
    logged = _logged(probs, ids)
    return gates, ids, logged, task_loss + coef * logged


@EXERCISE.right
def with_one_hot_in_float64(logits, top_k, task_loss, coef):
    probs = logits.double().softmax(-1)
    ids = probs.argsort(-1, descending=True)[:, :top_k]
    gates = probs.gather(1, ids)
    if top_k > 1:
        gates = gates / gates.sum(-1, keepdim=True)
    chosen = torch.nn.functional.one_hot(ids, probs.shape[-1]).double().mean((0, 1))
    logged = (chosen * probs.mean(0)).sum() * probs.shape[-1]
    return gates, ids, logged, coef * logged + task_loss


@EXERCISE.right
def with_the_library(logits, top_k, task_loss, coef):
    from moe_teach.ops.losses import load_balance_loss
    from moe_teach.ops.route import score, topk_gates
    from moe_teach.types import Routing

    probs = score(logits)
    gates, ids = topk_gates(probs, top_k, normalize=top_k > 1)
    logged = load_balance_loss(Routing(logits, probs, gates, ids))
    return gates, ids, logged, task_loss + coef * logged
