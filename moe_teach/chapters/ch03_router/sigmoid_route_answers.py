"""Exercise 3.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.sigmoid_route import EXERCISE


@EXERCISE.wrong(stage="choice", says="the one without any bias")
def ignores_the_bias(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = logits.sigmoid().topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="choice", says="before the sigmoid")
def bias_inside_the_sigmoid(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = (logits + expert_bias).sigmoid().topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="gates", says="the bias leaked in")
def bias_in_the_gates(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = (logits.sigmoid() + expert_bias).topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="gates", says="do not do that by themselves")
def forgets_to_normalise(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (logits.sigmoid() + expert_bias).topk(top_k).indices
    return gate_scale * logits.sigmoid().gather(-1, ids), ids


@EXERCISE.wrong(stage="scale", says="Before the division it would cancel")
def scales_before_normalising(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (logits.sigmoid() + expert_bias).topk(top_k).indices
    gates = gate_scale * logits.sigmoid().gather(-1, ids)
    return gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.right
def with_the_exponential_written_out(logits, expert_bias, top_k, gate_scale=1.0):
    probs = 1 / (1 + torch.exp(-logits.double()))
    ids = (probs + expert_bias).argsort(dim=-1, descending=True, stable=True)[:, :top_k]
    gates = torch.take_along_dim(probs, ids, dim=-1)
    return gate_scale * gates / gates.sum(-1)[:, None], ids


@EXERCISE.right
def in_log_space(logits, expert_bias, top_k, gate_scale=1.0):
    log_probs = torch.nn.functional.logsigmoid(logits)
    ids = (log_probs.exp() + expert_bias[None]).topk(top_k).indices
    return log_probs.gather(-1, ids).softmax(-1) * gate_scale, ids


@EXERCISE.wrong(stage="choice", says="take the sigmoid")
def scores_by_softmax(logits, expert_bias, top_k, gate_scale=1.0):
    probs = logits.softmax(-1)
    ids = (probs + expert_bias).topk(top_k).indices
    gates = probs.gather(1, ids)
    return gates / gates.sum(-1, keepdim=True) * gate_scale, ids
