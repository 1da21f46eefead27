"""Exercise 13.2: wrong answers with what they must be told, and other right ones."""

import math

import torch

from moe_teach.chapters.ch13_data_selection.draw_rows import EXERCISE


def _rand(scores, drawn):
    return torch.rand(len(scores), generator=drawn, dtype=torch.float64)


def _gumbel(scores, drawn):
    return -(-_rand(scores, drawn).log()).log()


def _ranked(scores, n_chosen, noise):
    order = noise.argsort()
    return order[scores[order].argsort(descending=True, stable=True)][:n_chosen]


def _drawn(scores, n_chosen, scale, noise):
    if math.isinf(scale):
        return _ranked(scores, n_chosen, noise)
    return (scale * scores.double() + noise).topk(n_chosen).indices


@EXERCISE.wrong(stage="so many rows", says="values first and places second")
def gives_the_values(scores, n_chosen, scale, drawn):
    return scores.topk(n_chosen).values


@EXERCISE.wrong(stage="so many rows", says="with replacement")
def draws_with_replacement(scores, n_chosen, scale, drawn):
    odds = (min(scale, 1e6) * scores.double()).softmax(0)
    return torch.multinomial(odds, n_chosen, replacement=True, generator=drawn)


@EXERCISE.wrong(stage="so many rows", says="A mask says who is in")
def gives_a_mask(scores, n_chosen, scale, drawn):
    rows = _drawn(scores, n_chosen, scale, _gumbel(scores, drawn))
    return torch.zeros(len(scores), dtype=torch.bool).index_fill(0, rows, True)


@EXERCISE.wrong(stage="so many rows", says="write into the tensor that was given")
def scales_in_place(scores, n_chosen, scale, drawn):
    scores *= 1 if math.isinf(scale) else scale
    return _drawn(scores, n_chosen, 1, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="the generator", says="Torch's common generator")
def draws_from_the_common_generator(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, scale, -(-torch.rand(len(scores)).log()).log())


@EXERCISE.wrong(stage="the generator", says="Nothing was drawn from it")
def takes_the_highest(scores, n_chosen, scale, drawn):
    return scores.topk(n_chosen).indices


@EXERCISE.wrong(stage="the generator", says="back to where it began")
def seeds_it_anew(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, scale, _gumbel(scores, drawn.manual_seed(0)))


@EXERCISE.wrong(stage="the generator", says="decides about no row")
def draws_for_nothing(scores, n_chosen, scale, drawn):
    return (scores + 0 * _gumbel(scores, drawn)).topk(n_chosen).indices


@EXERCISE.wrong(stage="the odds", says="The highest scores were taken")
def shuffles_and_sorts(scores, n_chosen, scale, drawn):
    noise = _rand(scores, drawn)
    return _ranked(scores if scale > 1 else 0 * scores, n_chosen, noise)


@EXERCISE.wrong(stage="the odds", says="Low scores win")
def prefers_low_scores(scores, n_chosen, scale, drawn):
    return _drawn(-scores, n_chosen, scale, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="the odds", says="The scale has no effect")
def forgets_the_scale(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, 1, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="the odds", says="as by a temperature")
def divides_by_the_scale(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, 1 / scale if scale else 0.0, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="the odds", says="one mean and spread")
def standardises(scores, n_chosen, scale, drawn):
    spread = scores.std() if len(scores) > 1 else 1.0
    return _drawn((scores - scores.mean()) / spread, n_chosen, scale, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="the odds", says="the others are the highest that are left")
def draws_once_and_sorts(scores, n_chosen, scale, drawn):
    first = int(_drawn(scores, 1, scale, _gumbel(scores, drawn)))
    rest = [i for i in scores.argsort(descending=True).tolist() if i != first]
    return torch.tensor([first, *rest])[:n_chosen]


@EXERCISE.wrong(stage="the odds", says="a normal distribution")
def adds_normal_noise(scores, n_chosen, scale, drawn):
    noise = torch.randn(len(scores), generator=drawn)
    return _drawn(scores, n_chosen, scale, noise)


@EXERCISE.wrong(stage="the odds", says="even between 0 and 1")
def adds_even_noise(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, scale, _rand(scores, drawn))


@EXERCISE.wrong(stage="the odds", says="one more logarithm")
def takes_one_logarithm(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, scale, -_rand(scores, drawn).log())


@EXERCISE.wrong(stage="the odds", says="the wrong sign")
def turns_the_noise_round(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, scale, -_gumbel(scores, drawn))


@EXERCISE.wrong(stage="scale 0", says="noise alone decides")
def takes_the_highest_at_scale_0(scores, n_chosen, scale, drawn):
    noise = _gumbel(scores, drawn)
    return _drawn(scores, n_chosen, scale if scale else math.inf, noise)


@EXERCISE.wrong(stage="large scores", says="rows that differ became equal")
def keeps_scores_small(scores, n_chosen, scale, drawn):
    near = scores if math.isinf(scale) else scores.clamp(-50, 50)
    return _drawn(near, n_chosen, scale, _gumbel(scores, drawn))


@EXERCISE.wrong(stage="large scores", says="exp(1000) is infinite")
def trusts_the_softmax(scores, n_chosen, scale, drawn):
    if math.isinf(scale):
        return _drawn(scores, n_chosen, scale, _gumbel(scores, drawn))
    odds = (scale * scores.double()).softmax(0) + 1e-12
    return torch.multinomial(odds, n_chosen, generator=drawn)


@EXERCISE.wrong(stage="an infinite scale", says="Infinity times 0")
def multiplies_by_infinity(scores, n_chosen, scale, drawn):
    return (scale * scores.double() + _gumbel(scores, drawn)).topk(n_chosen).indices


@EXERCISE.wrong(stage="an infinite scale", says="A large number in its place is not infinite")
def takes_a_million_for_infinity(scores, n_chosen, scale, drawn):
    return _drawn(scores, n_chosen, min(scale, 1e6), _gumbel(scores, drawn))


@EXERCISE.wrong(stage="an infinite scale", says="leaves equal rows in some order of its own")
def sorts_without_noise(scores, n_chosen, scale, drawn):
    if math.isinf(scale):
        return scores.topk(n_chosen).indices
    return _drawn(scores, n_chosen, scale, _gumbel(scores, drawn))


@EXERCISE.right
def one_after_another(scores, n_chosen, scale, drawn):
    left, chosen = list(range(len(scores))), []
    for _ in range(n_chosen):
        rest = scores[left].double()
        odds = (rest == rest.max()).double() if math.isinf(scale) else (scale * rest).softmax(0)
        chosen.append(left.pop(int(torch.multinomial(odds, 1, generator=drawn))))
    return torch.tensor(chosen)


@EXERCISE.right
def by_waiting_times(scores, n_chosen, scale, drawn):
    waits = torch.empty(len(scores)).exponential_(generator=drawn)
    if math.isinf(scale):
        order = waits.tolist()
        return torch.tensor(sorted(range(len(order)), key=lambda i: (-scores[i], order[i]))[
            :n_chosen
        ])  # fmt: skip
    return (waits.double().log() - scale * scores.double()).argsort()[:n_chosen]
