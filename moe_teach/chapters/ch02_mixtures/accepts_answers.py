"""Exercise 2.7: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch02_mixtures.accepts import EXERCISE

_KS, _LOGITS = (1, 2, 5), ((0, 1), (-9, 1), (0, 100))


class _Expert:
    def __init__(self, matrix):
        self.matrix, self.n_rows = matrix, 0

    def __call__(self, rows):
        self.n_rows += len(rows)
        return rows @ self.matrix


def _agrees(mixture, k, shift=0, scale=1, n_tokens=6, equal=torch.allclose, counts=True):
    """Compare one call with the slow way: token by token, and all experts sorted."""
    draw = torch.Generator().manual_seed(k)
    experts = [_Expert(torch.randn(2, 2, generator=draw)) for _ in range(5)]
    x = torch.randn(n_tokens, 2, generator=draw)
    logits = shift + scale * torch.randn(n_tokens, 5, generator=draw)
    got, n_rows, expected = mixture(x, experts, logits, k), [0] * 5, []
    for row, own in zip(x.double(), logits.double(), strict=True):
        best = sorted(range(5), key=lambda e, own=own: -own[e])[:k]
        gates = own[best].softmax(0)
        answers = [row @ experts[e].matrix.double() for e in best]
        expected.append(sum(g * a for g, a in zip(gates, answers, strict=True)))
        for e in best:
            n_rows[e] += 1
    close = equal(got, torch.stack(expected).float())
    return bool(close) and (not counts or n_rows == [expert.n_rows for expert in experts])


def _near(got, expected):
    return torch.allclose(got, expected, rtol=1e-3, atol=1e-4)


def _tries(name, ks=_KS, logits=_LOGITS, **how):
    how = {"equal": _near, **how}

    def accepts(mixture):
        return all(_agrees(mixture, k, *kind, **how) for k in ks for kind in logits)

    accepts.__name__ = name
    return accepts


_MISSES = {
    "everything_passes": ({"ks": ()}, "the one above"),
    "dense_alone": ({"ks": (5,)}, "k between 1 and E"),
    "one_token": ({"n_tokens": 1}, "with one token"),
    "never_top_one": ({"ks": (2, 5)}, "With k = 1 the gates are normalised over the batch"),
    "never_all_negative": ({"logits": ((9, 1), (900, 100))}, "beats every negative one"),
    "never_far_apart": ({"logits": ((0, 1), (-9, 1))}, "hundreds apart"),
    "never_counts": ({"counts": False}, "count the rows"),
}
for _name, (_how, _says) in _MISSES.items():
    EXERCISE.wrong(stage="broken mixtures", says=_says)(_tries(_name, **_how))


@EXERCISE.wrong(stage="right mixtures", says="must say True or False")
def gives_a_tensor(mixture):
    return torch.tensor(thorough(mixture))


@EXERCISE.wrong(stage="right mixtures", says="Compare floats with a tolerance")
def wants_every_digit(mixture):
    draw = torch.Generator().manual_seed(0)
    x, logits = torch.randn(9, 2, generator=draw), torch.randn(9, 5, generator=draw)
    maps = torch.randn(5, 2, 2, generator=draw)
    experts = [lambda rows, one=one: rows @ one for one in maps]
    gates = logits.topk(3).values.softmax(-1)
    expected = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        token, choice = torch.where(logits.topk(3).indices == e)
        if len(token):
            expected = expected.index_add(0, token, gates[token, choice, None] * expert(x[token]))
    return bool((mixture(x, experts, logits, 3) == expected).all())


@EXERCISE.wrong(stage="right mixtures", says="which nobody forbids")
def asks_about_ties(mixture):
    x, logits = torch.ones(2, 1), torch.zeros(2, 3)
    experts = [lambda rows, e=e: rows * (e + 1) for e in range(3)]
    return bool(torch.allclose(mixture(x, experts, logits, 1), x))


@EXERCISE.wrong(stage="right mixtures", says="nobody's business")
def wants_one_call_for_each_expert(mixture):
    calls = []
    experts = [lambda rows, e=e: calls.append(e) or rows for e in range(2)]
    mixture(torch.ones(4, 1), experts, torch.randn(4, 2), 2)
    return sorted(calls) == [0, 1]


thorough = EXERCISE.right(_tries("thorough"))


@EXERCISE.right
def by_laws_and_one_hand_made_case(mixture):
    x = torch.tensor([[1.0], [3.0], [-1.0]])
    logits = torch.tensor([[-2.0, -1.0, -7.0], [-5.0, -1.0, -0.5], [-1.0, -3.0, -2.0]])
    rows = [0, 0, 0]

    def expert(e, scale):
        def ask(given):
            rows[e] += len(given)
            return given * scale

        return ask

    experts = [expert(e, scale) for e, scale in enumerate((1.0, 10.0, -5.0))]
    gate = torch.tensor(1.0).sigmoid().item(), torch.tensor(0.5).sigmoid().item()
    two = [10 * gate[0] + 1 - gate[0], 3 * (-5 * gate[1] + 10 * (1 - gate[1]))]
    two.append(-(gate[0] - 5 * (1 - gate[0])))
    pairs = ((1, [10.0, -15.0, -1.0]), (2, two))
    for k, expected in pairs:
        rows[:] = [0, 0, 0]
        got = mixture(x, experts, logits, k)
        if not torch.allclose(got[:, 0], torch.tensor(expected), atol=1e-4) or sum(rows) != 3 * k:
            return False
    far = mixture(x, experts, 300 * logits, 2)[:, 0]
    return bool(torch.allclose(far, torch.tensor([10.0, -15.0, -1.0]), atol=1e-4))
