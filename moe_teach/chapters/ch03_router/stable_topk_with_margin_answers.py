"""Exercise 3.5: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.stable_topk_with_margin import EXERCISE


def _margin(scores, top_k):
    if top_k == scores.shape[-1]:
        return torch.full((len(scores),), torch.inf)
    best = scores.topk(top_k + 1).values
    return best[:, -2] - best[:, -1]


def _stable(scores, top_k):
    return scores.argsort(dim=-1, descending=True, stable=True)[:, :top_k]


@EXERCISE.wrong(stage="shape", says="`margin`, one per token")
def keeps_a_column_of_margins(scores, top_k):
    return _stable(scores, top_k), _margin(scores, top_k)[:, None]


@EXERCISE.wrong(stage="choice", says="Do not break ties by changing scores")
def pushes_ties_apart(scores, top_k):
    pushed = scores - 1e-5 * torch.arange(scores.shape[-1])
    return pushed.topk(top_k).indices, _margin(scores, top_k)


@EXERCISE.wrong(stage="ties", says="the lower number comes first")
def trusts_topk(scores, top_k):
    return scores.topk(top_k).indices, _margin(scores, top_k)


@EXERCISE.wrong(stage="margin", says="number top_k + 1 in the order")
def margin_inside_the_chosen(scores, top_k):
    best = scores.sort(dim=-1, descending=True).values
    return _stable(scores, top_k), best[:, 0] - best[:, top_k - 1]


@EXERCISE.wrong(stage="everyone chosen", says="the margin is infinite")
def zero_when_nobody_is_left_out(scores, top_k):
    margin = _margin(scores, top_k)
    return _stable(scores, top_k), torch.where(margin.isinf(), 0.0, margin)


@EXERCISE.right
def by_python_sorting(scores, top_k):
    rows = scores.tolist()
    order = [sorted(range(len(row)), key=lambda e, row=row: -row[e]) for row in rows]
    return torch.tensor(order)[:, :top_k], _margin(scores, top_k)


@EXERCISE.right
def in_float64_with_a_padded_column(scores, top_k):
    values, order = (-scores.double()).sort(dim=-1, stable=True)
    values = torch.nn.functional.pad(-values, (0, 1), value=-torch.inf)
    return order[:, :top_k].to(torch.int32), values[:, top_k - 1] - values[:, top_k]


@EXERCISE.wrong(stage="everyone chosen", says="no score comes after")
def reads_past_the_end(scores, top_k):
    values, ids = scores.sort(dim=-1, descending=True, stable=True)
    return ids[:, :top_k], values[:, top_k - 1] - values[:, top_k]


@EXERCISE.wrong(stage="any size of scores", says="without a constant")
def marks_the_taken_with_a_constant(scores, top_k):
    left, picks = scores, []
    for _ in range(top_k):
        picks.append(left.argmax(-1, keepdim=True))
        left = left.scatter(-1, picks[-1], -100.0)
    return torch.cat(picks, dim=-1), _margin(scores, top_k)


@EXERCISE.wrong(stage="any size of scores", says="where the scores lie in float64")
def sorts_in_float32(scores, top_k):
    return _stable(scores.float(), top_k), _margin(scores, top_k)


@EXERCISE.wrong(stage="any size of scores", says="a millionth of a millionth apart")
def pushes_ties_a_little_apart(scores, top_k):
    pushed = scores.double() - 1e-10 * torch.arange(scores.shape[-1])
    return pushed.topk(top_k).indices, _margin(scores, top_k)


@EXERCISE.wrong(stage="everyone chosen", says="the order is not")
def lists_everyone_by_number(scores, top_k):
    ids = _stable(scores, top_k)
    is_all = top_k == scores.shape[-1]
    return (ids.sort(-1).values if is_all else ids), _margin(scores, top_k)


@EXERCISE.right
def by_counting_who_is_better(scores, top_k):
    mine, other = scores[:, :, None], scores[:, None, :]
    numbers = torch.arange(scores.shape[-1])
    rank = ((other > mine) | ((other == mine) & (numbers < numbers[:, None]))).sum(-1)
    return rank.argsort(-1)[:, :top_k], _margin(scores, top_k)


@EXERCISE.right
def as_a_report_without_a_graph(scores, top_k):
    with torch.no_grad():
        return _stable(scores, top_k), _margin(scores, top_k)
