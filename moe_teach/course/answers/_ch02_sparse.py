"""Chapter 02, exercises 2.5 and 2.6: wrong answers and other right ones."""

import torch

from moe_teach.judging.exercise import right, wrong

# --- 2.5 top_k_mask -----------------------------------------------------------------------------


@wrong("2.5", stage="shape", says="not the positions")
def gives_positions(logits, k):
    return logits.topk(k).indices


@wrong("2.5", stage="choice", says="the *smallest*")
def picks_the_smallest(logits, k):
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argsort(-1)[:, :k], True)


@wrong("2.5", stage="choice", says="along the last dimension")
def marks_over_the_tokens(logits, k):
    order = logits.argsort(0, descending=True).argsort(0)
    return order < k


@wrong("2.5", stage="ties", says="marks all that are equal")
def by_comparing_with_the_kth(logits, k):
    return logits >= logits.topk(k).values[:, -1:]


@wrong("2.5", stage="ties", says="lower number must win")
def trusts_topk_with_ties(logits, k):
    chosen = logits.flip(-1).sort(dim=-1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True).flip(-1)


@right("2.5")
def by_python_sorting(logits, k):
    mask = torch.zeros_like(logits, dtype=torch.bool)
    for token, row in enumerate(logits.tolist()):
        for expert in sorted(range(len(row)), key=lambda e: (-row[e], e))[:k]:
            mask[token, expert] = True
    return mask


@right("2.5")
def one_by_one_in_float64(logits, k):
    left = logits.double().clone()
    mask = torch.zeros(logits.shape, dtype=torch.bool)
    for _ in range(k):
        best = (left == left.max(-1, keepdim=True).values).int().argmax(-1)
        mask[torch.arange(len(left)), best] = True
        left[torch.arange(len(left)), best] = -torch.inf
    return mask


# --- 2.6 sparse_mixture -------------------------------------------------------------------------


@wrong("2.6", stage="shape", says="one vector per token")
def sums_without_gates(x, experts, logits, k):
    return torch.stack([expert(x) for expert in experts])


@wrong("2.6", stage="k = E", says="only the last of a token's answers")
def keeps_the_last_answer(x, experts, logits, k):
    chosen = logits.topk(k)
    gates, y = chosen.values.softmax(-1), torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        if len(token):
            y[token] = gates[token, choice, None] * expert(x[token])
    return y


@wrong("2.6", stage="values", says="a part of the weight is lost")
def softmax_over_everyone(x, experts, logits, k):
    chosen = logits.softmax(-1).topk(k)
    y = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        if len(token):
            y = y.index_add(0, token, chosen.values[token, choice, None] * expert(x[token]))
    return y


@wrong("2.6", stage="work", says="Nothing was saved")
def calls_everyone_with_everything(x, experts, logits, k):
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(-1)
    return sum(gates[:, e, None] * expert(x) for e, expert in enumerate(experts))


@wrong("2.6", stage="work", says="called with an empty batch")
def calls_idle_experts(x, experts, logits, k):
    chosen = logits.topk(k)
    gates, y = chosen.values.softmax(-1), torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, choice = torch.where(chosen.indices == number)
        y = y.index_add(0, token, gates[token, choice, None] * expert(x[token]))
    return y


@right("2.6")
def by_looping_over_tokens(x, experts, logits, k):
    rows = []
    for row, scores in zip(x, logits, strict=True):
        best = scores.topk(k)
        gates = best.values.softmax(-1)
        rows.append(
            sum(g * experts[e](row[None])[0] for g, e in zip(gates, best.indices, strict=True))
        )
    return torch.stack(rows)


@right("2.6")
def by_masked_softmax_and_slices(x, experts, logits, k):
    ranks = logits.argsort(-1, descending=True).argsort(-1)
    gates = logits.masked_fill(ranks >= k, -torch.inf).softmax(-1)
    y = x * 0
    for e, expert in enumerate(experts):
        mine = ranks[:, e] < k
        if mine.any():
            y[mine] += gates[mine, e, None] * expert(x[mine])
    return y


@right("2.6")
def by_a_dense_one_hot(x, experts, logits, k):
    chosen = logits.double().topk(k)
    gates = chosen.values.softmax(-1).float()
    one_hot = torch.nn.functional.one_hot(chosen.indices, len(experts)).bool()
    total = torch.zeros(len(x), k, x.shape[1])
    for e, expert in enumerate(experts):
        mine = one_hot[..., e]
        if mine.any():
            total[mine] = expert(x[mine.any(-1)])
    return (gates[..., None] * total).sum(1)
