"""Exercise 2.6: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.sparse_mixture import EXERCISE


@EXERCISE.wrong(stage="shape", says="one vector per token")
def sums_without_gates(x, experts, logits, k):
    return torch.stack([expert(x) for expert in experts])


@EXERCISE.wrong(stage="k = E", says="Only the last of a token's answers")
def keeps_the_last_answer(x, experts, logits, k):
    chosen = logits.topk(k)
    gates, y = chosen.values.softmax(-1), torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        if len(token):
            y[token] = gates[token, choice, None] * expert(x[token])
    return y


@EXERCISE.wrong(stage="values", says="a part of the weight is lost")
def softmax_over_everyone(x, experts, logits, k):
    chosen = logits.softmax(-1).topk(k)
    y = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        if len(token):
            y = y.index_add(0, token, chosen.values[token, choice, None] * expert(x[token]))
    return y


@EXERCISE.wrong(stage="work", says="Nothing was saved")
def calls_everyone_with_everything(x, experts, logits, k):
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(-1)
    return sum(gates[:, e, None] * expert(x) for e, expert in enumerate(experts))


@EXERCISE.wrong(stage="work", says="called with an empty batch")
def calls_idle_experts(x, experts, logits, k):
    chosen = logits.topk(k)
    gates, y = chosen.values.softmax(-1), torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        y = y.index_add(0, token, gates[token, choice, None] * expert(x[token]))
    return y


@EXERCISE.wrong(stage="work", says="takes rows, (n, D)")
def hands_over_single_vectors(x, experts, logits, k):
    chosen = logits.topk(k)
    gates = chosen.values.softmax(-1)
    return torch.stack(
        [
            sum(gates[t, j] * experts[chosen.indices[t, j]](x[t]) for j in range(k))
            for t in range(len(x))
        ]
    )


@EXERCISE.wrong(stage="other inputs", says="Something is rounded")
def answers_in_float32(x, experts, logits, k):
    return by_looping_over_tokens(x, experts, logits, k).float()


@EXERCISE.wrong(stage="gradient", says="not connected with `logits`")
def gates_that_cannot_learn(x, experts, logits, k):
    return by_looping_over_tokens(x, experts, logits.detach(), k)


@EXERCISE.right
def by_looping_over_tokens(x, experts, logits, k):
    rows = []
    for row, scores in zip(x, logits, strict=True):
        best = scores.topk(k)
        gates = best.values.softmax(-1)
        rows.append(
            sum(g * experts[e](row[None])[0] for g, e in zip(gates, best.indices, strict=True))
        )
    return torch.stack(rows)


@EXERCISE.right
def by_masked_softmax_and_slices(x, experts, logits, k):
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(-1)
    y = x * 0
    for e, expert in enumerate(experts):
        mine = ranks[:, e] < k
        if mine.any():
            y[mine] += gates[mine, e, None] * expert(x[mine])
    return y


@EXERCISE.right
def by_a_dense_one_hot(x, experts, logits, k):
    chosen = logits.double().topk(k)
    gates = chosen.values.softmax(-1).to(x.dtype)
    one_hot = torch.nn.functional.one_hot(chosen.indices, len(experts)).bool()
    total = x.new_zeros(len(x), k, x.shape[1])
    for e, expert in enumerate(experts):
        mine = one_hot[..., e]
        if mine.any():
            total[mine] = expert(x[mine.any(-1)])
    return (gates[..., None] * total).sum(1)


@EXERCISE.wrong(stage="k = E", says="x plus the mixture")
def adds_a_residual(x, experts, logits, k):
    return x + by_looping_over_tokens(x, experts, logits, k)
