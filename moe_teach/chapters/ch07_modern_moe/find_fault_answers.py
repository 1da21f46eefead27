"""Exercise 7.8: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import route as rule
from moe_teach.chapters.ch07_modern_moe.find_fault import EXERCISE

_PLACES = ((0.0, 0.0), (0.0, -5.0), (0.0, 7.0), (-12.0, 8.0))


def _draw(place, n_tokens=64, spread=0.5):
    random = torch.Generator().manual_seed(5)
    logits = place[0] + torch.randn(n_tokens, 16, generator=random)
    return logits, place[1] + spread * torch.randn(16, generator=random)


def _table(route, logits, bias):
    gates, ids = route(logits, bias, 4, 4, 2, 2.5)
    return torch.zeros(logits.shape).scatter_add(1, ids, gates.float())


def _search(route, places=_PLACES, **how):
    found = []
    for place in places:
        logits, bias = _draw(place, **how)
        gap = (_table(route, logits, bias) - _table(rule, logits, bias)).abs()
        if not bool((gap < 1e-3).all()):
            found.append((logits, bias))
    return found


@EXERCISE.wrong(stage="an input", says="was handed back as right")
def trusts_everybody(route):
    return []


@EXERCISE.wrong(stage="an input", says="The answer is a list of inputs")
def says_yes_or_no(route):
    return bool(_search(route))


@EXERCISE.wrong(stage="an input", says="a tuple of two tensors")
def returns_the_logits_alone(route):
    return [logits for logits, _ in _search(route)]


@EXERCISE.wrong(stage="the router above", says="does what the rule says")
def returns_all_its_inputs(route):
    return [_draw(place) for place in _PLACES] if _search(route) else []


@EXERCISE.wrong(stage="an input", says="within ±30")
def goes_too_far(route):
    return _search(route, places=((0.0, 0.0), (0.0, -50.0), (-40.0, 8.0)))


@EXERCISE.wrong(stage="an input", says="This input is not fair")
def lets_all_scores_round_to_one(route):
    return _search(route, places=((25.0, 0.0),), spread=0.0)


@EXERCISE.wrong(stage="right routers", says="A right router was turned away")
def compares_the_order(route):
    for place in _PLACES:
        logits, bias = _draw(place)
        ids = route(logits, bias, 4, 4, 2, 2.5)[1]
        if not torch.equal(ids, rule(logits, bias, 4, 4, 2, 2.5)[1]):
            return [(logits, bias)]
    return []


@EXERCISE.wrong(stage="an input", says="with other sizes than")
def forgets_the_scale(route):
    logits, bias = _draw((0.0, 0.0))
    same = torch.equal(route(logits, bias, 4, 4, 2, 1.0)[1], rule(logits, bias, 4, 4, 2)[1])
    return [] if same else [(logits, bias)]


@EXERCISE.wrong(stage="the router above", says="look for a line that is not right in float32")
def looks_around_zero_only(route):
    return _search(route, places=((0.0, 0.0),))


@EXERCISE.wrong(stage="other routers", says="Rankings below -1 do not exist")
def lets_biases_sink_a_little(route):
    return _search(route, places=((0.0, 0.0), (1.0, -1.0), (-12.0, 8.0)))


@EXERCISE.wrong(stage="other routers", says="Closed groups have rankings of 0")
def lets_no_bias_sink(route):
    return _search(route, places=((0.0, 0.0), (-12.0, 8.0)), spread=0.2)


@EXERCISE.wrong(stage="other routers", says="It keeps the bias in bfloat16")
def looks_at_four_tokens(route):
    return _search(route, places=((0.0, 0.0), (0.0, -5.0), (-12.0, 8.0)), n_tokens=4)


@EXERCISE.right
def tries_many_random_places(route):
    random = torch.Generator().manual_seed(1)
    for _ in range(60):
        shift, bias = (torch.rand(2, generator=random) * 20 - 10).tolist()
        logits = min(shift, 3.0) + torch.randn(64, 16, generator=random)
        expert_bias = bias + 0.3 * torch.randn(16, generator=random)
        gap = _table(route, logits, expert_bias) - _table(rule, logits, expert_bias)
        if not bool((gap.abs() < 1e-3).all()):
            return [(logits, expert_bias)]
    return []


@EXERCISE.right
def asks_the_experts_and_gates_of_each_token(route):
    for place in _PLACES:
        logits, bias = _draw(place, n_tokens=64, spread=0.1)
        wanted, got = (f(logits, bias, 4, 4, 2, 2.5) for f in (rule, route))
        for *one, other_gates, other_ids in zip(*wanted, *got, strict=True):
            right = dict(zip(one[1].tolist(), one[0].tolist(), strict=True))
            seen = dict(zip(other_ids.tolist(), other_gates.tolist(), strict=True))
            if seen.keys() != right.keys() or any(abs(seen[e] - right[e]) > 1e-3 for e in right):
                return [(logits, bias)]
    return []
