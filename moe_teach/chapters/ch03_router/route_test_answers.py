"""Exercise 3.7: tests that see too little or too much, and other right ones."""

import torch

from moe_teach.chapters.ch03_router.route_test import EXERCISE

SHAPES = ((1, 2, 1, 1), (5, 7, 4, 1), (7, 11, 6, 3), (64, 64, 40, 6), (3, 4, 4, 4))


def _cases(shapes=SHAPES, shifts=(-20.0, 0.0, 20.0), spread=1.0):
    random = torch.Generator().manual_seed(7)
    for n_tokens, n_experts, n_open, top_k in shapes:
        for shift in shifts:
            logits = torch.randn(n_tokens, n_experts, generator=random)
            bias = spread * torch.randn(n_experts, generator=random) + shift
            is_open = torch.rand(n_experts, generator=random).argsort().argsort() < n_open
            yield logits, bias, is_open, top_k


def _keeps(route, logits, bias, is_open, top_k, *, gates=True, inputs=True, ids=True):
    given = logits.clone(), bias.clone(), is_open.clone()
    got_gates, got_ids = route(*given, top_k)
    ranking = torch.where(is_open, logits.sigmoid() + bias, -torch.inf)
    expected = ranking.topk(top_k).indices
    own = logits.sigmoid().gather(-1, got_ids.long())
    right_gates = own / own.sum(-1, keepdim=True)
    return (
        (not ids or torch.equal(got_ids.long(), expected))
        and (not gates or torch.allclose(got_gates.float(), right_gates))
        and (not inputs or all(map(torch.equal, given, (logits, bias, is_open))))
    )


def _all(route, cases, **which):
    return all(_keeps(route, *case, **which) for case in cases)


@EXERCISE.wrong(stage="a verdict", says="not True or False")
def asserts_and_is_silent(route):
    assert _all(route, _cases())
    return 1


@EXERCISE.wrong(stage="right routers", says="torch.equal and allclose ask for equal dtypes")
def wants_the_dtype_of_one_router(route):
    for logits, bias, is_open, top_k in _cases():
        gates, ids = route(logits.clone(), bias.clone(), is_open, top_k)
        if ids.dtype != torch.long or gates.dtype != torch.float32:
            return False
    return _all(route, _cases())


@EXERCISE.wrong(stage="right routers", says="that nobody promised")
def wants_the_gates_sorted(route):
    for logits, bias, is_open, top_k in _cases():
        gates, _ = route(logits.clone(), bias.clone(), is_open, top_k)
        if not (gates[:, :-1] >= gates[:, 1:]).all():
            return False
    return _all(route, _cases())


@EXERCISE.wrong(stage="the router of the text", says="passed your test: the router of the text")
def tries_the_example_only(route):
    return _all(route, _cases(shifts=(0.0,)))


@EXERCISE.wrong(stage="its relatives", says="never looks at the bias")
def asks_only_whether_a_closed_expert_was_chosen(route):
    for logits, bias, is_open, top_k in _cases():
        _, ids = route(logits.clone(), bias.clone(), is_open, top_k)
        if not is_open[ids.long()].all():
            return False
    return True


@EXERCISE.wrong(stage="its relatives", says="gates contain the bias")
def never_looks_at_the_gates(route):
    return _all(route, _cases(), gates=False)


@EXERCISE.wrong(stage="its relatives", says="not the lowest there is")
def tries_small_biases(route):
    return _all(route, _cases(shifts=(-1.2, 0.0), spread=0.1))


@EXERCISE.wrong(stage="its relatives", says="where one expert is chosen")
def never_chooses_one_of_many(route):
    return _all(route, _cases(shapes=SHAPES[2:]))


@EXERCISE.wrong(stage="its relatives", says="leaves its logits changed")
def never_looks_at_its_inputs(route):
    return _all(route, _cases(), inputs=False)


@EXERCISE.wrong(stage="its relatives", says="moves the bias in passing")
def copies_the_logits_only(route):
    for logits, bias, is_open, top_k in _cases():
        given = logits.clone(), bias.clone()
        route(logits, given[1], is_open, top_k)
        if not torch.equal(given[0], logits):
            return False
    return _all(route, _cases(), inputs=False)


@EXERCISE.wrong(stage="its relatives", says="beside the wrong experts")
def compares_sets_and_sorted_gates(route):
    for logits, bias, is_open, top_k in _cases():
        given = logits.clone(), bias.clone(), is_open.clone()
        gates, ids = route(*given, top_k)
        best = torch.where(is_open, logits.sigmoid() + bias, -torch.inf).topk(top_k).indices
        own = logits.sigmoid().gather(-1, best)
        own = (own / own.sum(-1, keepdim=True)).sort(dim=-1).values
        if not torch.equal(ids.long().sort(dim=-1).values, best.sort(dim=-1).values):
            return False
        if not torch.allclose(gates.float().sort(dim=-1).values, own):
            return False
        if not all(map(torch.equal, given, (logits, bias, is_open))):
            return False
    return True


@EXERCISE.wrong(stage="its relatives", says="two close scores")
def tries_few_experts(route):
    return _all(route, _cases(shapes=(*SHAPES[:1], (3, 5, 3, 2), (5, 3, 2, 1)), shifts=(-20.0,)))


@EXERCISE.right
def compares_with_a_plain_router(route):
    return _all(route, _cases())


@EXERCISE.right
def by_laws_and_not_by_the_formula(route):
    for logits, bias, is_open, top_k in _cases():
        given = logits.clone(), bias.clone(), is_open.clone()
        gates, ids = (part.double() for part in route(*given, top_k))
        ids = ids.long()
        ranking = (logits.sigmoid() + bias).masked_fill(~is_open, -1e9)
        chosen = torch.zeros_like(ranking, dtype=torch.bool).scatter(-1, ids, True)
        outside = ranking.masked_fill(chosen, -1e9).amax(dim=-1)
        held = ranking.gather(-1, ids)
        own = logits.sigmoid().double().gather(-1, ids)
        laws = (
            is_open[ids].all(),
            (chosen.sum(dim=-1) == top_k).all(),
            (held[:, -1] >= outside).all() and (held[:, :-1] >= held[:, 1:]).all(),
            (gates.sum(dim=-1) - 1).abs().max() < 1e-5,
            (gates * own[:, :1] - gates[:, :1] * own).abs().max() < 1e-5,
            torch.equal(given[0], logits) and torch.equal(given[1], bias),
            torch.equal(given[2], is_open),
        )
        if not all(map(bool, laws)):
            return False
    return True


@EXERCISE.right
def token_by_token_in_python(route):
    for logits, bias, is_open, top_k in _cases():
        given = logits.clone(), bias.clone(), is_open.clone()
        gates, ids = route(*given, top_k)
        if not all(map(torch.equal, given, (logits, bias, is_open))):
            return False
        scores = logits.sigmoid()
        ranking = (scores + bias).tolist()
        for t, row in enumerate(ranking):
            open_ones = [e for e in range(len(row)) if is_open[e]]
            best = sorted(open_ones, key=lambda e: -row[e])[:top_k]
            total = sum(scores[t, e].item() for e in best)
            if ids[t].tolist() != best or any(
                abs(gates[t, i].item() - scores[t, e].item() / total) > 1e-5
                for i, e in enumerate(best)
            ):
                return False
    return True
