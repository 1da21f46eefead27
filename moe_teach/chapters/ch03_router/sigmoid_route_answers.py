"""Exercise 3.3: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.sigmoid_route import EXERCISE


@EXERCISE.wrong(stage="choice", says="the one without any bias")
def ignores_the_bias(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = logits.sigmoid().topk(top_k)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="choice", says="added before the sigmoid")
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


@EXERCISE.wrong(stage="scale", says="Before the division a factor would cancel")
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


@EXERCISE.wrong(stage="choice", says="scored by a softmax")
def scores_by_softmax(logits, expert_bias, top_k, gate_scale=1.0):
    probs = logits.softmax(-1)
    ids = (probs + expert_bias).topk(top_k).indices
    gates = probs.gather(1, ids)
    return gates / gates.sum(-1, keepdim=True) * gate_scale, ids


def _right(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (logits.sigmoid() + expert_bias).topk(top_k).indices
    gates = logits.sigmoid().gather(-1, ids)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="far from zero", says="near 1e-9")
def guards_against_zero(logits, expert_bias, top_k, gate_scale=1.0):
    scores = logits.sigmoid()
    ids = (scores + expert_bias).topk(top_k, dim=-1).indices
    gates = scores.gather(-1, ids)
    return gate_scale * gates / (gates.sum(dim=-1, keepdim=True) + 1e-10), ids


@EXERCISE.wrong(stage="choice", says="the bias taken off")
def takes_the_bias_off(logits, expert_bias, top_k, gate_scale=1.0):
    scores = logits.sigmoid()
    ids = (scores - expert_bias).topk(top_k, dim=-1).indices
    gates = scores.gather(-1, ids)
    return gate_scale * gates / gates.sum(dim=-1, keepdim=True), ids


@EXERCISE.wrong(stage="below zero", says="0 or -1 cannot mark")
def marks_the_taken_with_minus_one(logits, expert_bias, top_k, gate_scale=1.0):
    left, picks = logits.sigmoid() + expert_bias, []
    for _ in range(top_k):
        picks.append(left.argmax(-1, keepdim=True))
        left = left.scatter(-1, picks[-1], -1.0)
    ids = torch.cat(picks, dim=-1)
    gates = logits.sigmoid().gather(-1, ids)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="scale", says="must not touch the choice")
def scales_before_choosing(logits, expert_bias, top_k, gate_scale=1.0):
    ids = (gate_scale * logits.sigmoid() + expert_bias).topk(top_k).indices
    gates = logits.sigmoid().gather(-1, ids)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="scale", says="Keep the stub's default")
def scales_without_being_asked(logits, expert_bias, top_k, gate_scale=2.5):
    return _right(logits, expert_bias, top_k, gate_scale)


@EXERCISE.wrong(stage="far from zero", says="nothing may be added to it")
def adds_a_millionth_to_the_sum(logits, expert_bias, top_k, gate_scale=1.0):
    gates, ids = _right(logits, expert_bias, top_k, gate_scale)
    chosen = logits.sigmoid().gather(-1, ids).sum(-1, keepdim=True)
    return gates * chosen / (chosen + 1e-6), ids


@EXERCISE.wrong(stage="far from zero", says="exp(1000)")
def divides_two_infinities(logits, expert_bias, top_k, gate_scale=1.0):
    probs = logits.exp() / (1 + logits.exp())
    ids = (probs + expert_bias).topk(top_k).indices
    gates = probs.gather(-1, ids)
    return gate_scale * gates / gates.sum(-1, keepdim=True), ids


@EXERCISE.wrong(stage="gradient", says="could learn")
def routes_without_a_graph(logits, expert_bias, top_k, gate_scale=1.0):
    with torch.no_grad():
        return _right(logits, expert_bias, top_k, gate_scale)


@EXERCISE.wrong(stage="gradient", says="gradient of `logits` is another one")
def divides_by_a_detached_sum(logits, expert_bias, top_k, gate_scale=1.0):
    _, ids = _right(logits, expert_bias, top_k)
    gates = logits.sigmoid().gather(-1, ids)
    return gate_scale * gates / gates.sum(-1, keepdim=True).detach(), ids


@EXERCISE.right
def token_after_token_with_short_ids(logits, expert_bias, top_k, gate_scale=1.0):
    rows, picks = [], []
    for row in logits:
        probs = torch.sigmoid(row)
        best = sorted(range(len(row)), key=lambda e, p=probs: -float(p[e] + expert_bias[e]))[:top_k]
        rows.append(torch.nn.functional.normalize(probs[best], p=1, dim=0))
        picks.append(best)
    return gate_scale * torch.stack(rows), torch.tensor(picks, dtype=torch.int32)
