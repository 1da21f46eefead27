"""Exercise 2.5: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.top_k_mask import EXERCISE


@EXERCISE.wrong(stage="shape", says="It holds the positions")
def gives_positions(logits, k):
    return logits.topk(k).indices


@EXERCISE.wrong(stage="choice", says="the *smallest*")
def picks_the_smallest(logits, k):
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argsort(-1)[:, :k], True)


@EXERCISE.wrong(stage="choice", says="along the last dimension")
def marks_over_the_tokens(logits, k):
    order = logits.argsort(0, descending=True).argsort(0)
    return order < k


@EXERCISE.wrong(stage="ties", says="marks all that are equal")
def by_comparing_with_the_kth(logits, k):
    return logits >= logits.topk(k).values[:, -1:]


@EXERCISE.wrong(stage="ties", says="lower number must win")
def trusts_topk_with_ties(logits, k):
    chosen = logits.flip(-1).sort(dim=-1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True).flip(-1)


@EXERCISE.wrong(stage="unusual logits", says="A softmax rounds small ones to zero")
def compares_probabilities(logits, k):
    return by_python_sorting(logits.softmax(-1), k)


@EXERCISE.wrong(stage="unusual logits", says="to break ties")
def breaks_ties_by_hand(logits, k):
    return by_python_sorting(logits - 1e-6 * torch.arange(logits.shape[-1]), k)


@EXERCISE.right
def by_python_sorting(logits, k):
    mask = torch.zeros_like(logits, dtype=torch.bool)
    for token, row in enumerate(logits.tolist()):
        for expert in sorted(range(len(row)), key=lambda e: (-row[e], e))[:k]:
            mask[token, expert] = True
    return mask


@EXERCISE.right
def one_by_one_in_float64(logits, k):
    left = logits.double().clone()
    mask = torch.zeros(logits.shape, dtype=torch.bool)
    for _ in range(k):
        best = (left == left.max(-1, keepdim=True).values).int().argmax(-1)
        mask[torch.arange(len(left)), best] = True
        left[torch.arange(len(left)), best] = -torch.inf
    return mask


@EXERCISE.wrong(stage="unusual logits", says="stands for `taken`")
def takes_a_constant_for_taken(logits, k):
    left, mask = logits.clone(), torch.zeros_like(logits, dtype=torch.bool)
    rows = torch.arange(len(logits))
    for _ in range(k):
        best = left.argmax(dim=-1)
        mask[rows, best], left[rows, best] = True, -1e9
    return mask
