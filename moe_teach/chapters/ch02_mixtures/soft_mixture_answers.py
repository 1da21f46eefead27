"""Exercise 2.2: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.soft_mixture import EXERCISE


@EXERCISE.wrong(stage="shape", says="one vector per token")
def sums_over_the_outputs(outputs, logits):
    return (logits.softmax(-1)[..., None] * outputs).sum(-1)


@EXERCISE.wrong(stage="values", says="were used as gates")
def logits_as_gates(outputs, logits):
    return (logits[..., None] * outputs).sum(1)


@EXERCISE.wrong(stage="values", says="do not take the mean")
def mean_over_the_experts(outputs, logits):
    return (logits.softmax(-1)[..., None] * outputs).mean(1)


@EXERCISE.wrong(stage="values", says="the *last* dimension")
def softmax_over_the_tokens(outputs, logits):
    return (logits.softmax(0)[..., None] * outputs).sum(1)


@EXERCISE.wrong(stage="other inputs", says="infinite in float32")
def exponentials_as_they_are(outputs, logits):
    powers = logits.exp()
    return ((powers / powers.sum(-1, keepdim=True))[..., None] * outputs).sum(1)


@EXERCISE.wrong(stage="gradient", says="carries no gradient")
def cuts_the_graph(outputs, logits):
    return (logits.softmax(-1)[..., None] * outputs).sum(1).detach()


@EXERCISE.wrong(stage="gradient", says="not connected with `logits`")
def gates_that_cannot_learn(outputs, logits):
    return (logits.detach().softmax(-1)[..., None] * outputs).sum(1)


@EXERCISE.right
def by_batched_matmul(outputs, logits):
    return (logits.softmax(-1)[:, None, :] @ outputs)[:, 0]


@EXERCISE.right
def expert_by_expert_in_float64(outputs, logits):
    powers = logits.double().exp()
    total = sum(powers[:, e, None] * outputs[:, e] for e in range(logits.shape[1]))
    return total / powers.sum(-1, keepdim=True)


@EXERCISE.wrong(stage="shape", says="came as a NumPy array")
def blend_as_an_array(outputs, logits):
    return torch.einsum("te,teo->to", logits.softmax(-1), outputs).numpy()


@EXERCISE.wrong(stage="shape", says="in place")
def weighs_the_callers_outputs(outputs, logits):
    outputs *= logits.softmax(-1)[..., None]
    return outputs.sum(1)
