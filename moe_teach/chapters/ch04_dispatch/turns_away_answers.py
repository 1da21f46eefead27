"""Exercise 4.8: tests that miss something, with what they must be told, and other good ones."""

import torch

from moe_teach.chapters.ch04_dispatch.layers_on_trial import by_everybody
from moe_teach.chapters.ch04_dispatch.turns_away import EXERCISE

LOUD, MANY = ((1, 4, torch.float32), (40, 4, torch.float32)), (700, 8, torch.bfloat16)


def _inputs(n_tokens, n_experts, dtype):
    """One expert is everybody's, one has nobody, and the others are drawn."""
    random = torch.Generator().manual_seed(n_tokens)
    x = torch.randn(n_tokens, 3, generator=random).to(dtype)
    gates = 0.1 + torch.rand(n_tokens, 2, generator=random)
    other = torch.randint(2, n_experts - 1, (n_tokens,), generator=random)
    ids = torch.stack([other, torch.ones_like(other)], dim=1)
    return x, gates, ids, [_curved(e) for e in range(n_experts)]


def _curved(e):
    return lambda rows: torch.sin(rows.float() + e).to(rows.dtype)


def _judge(layer, sizes=(*LOUD, MANY), change=lambda given: given, near=None, copy=True):
    for size in sizes:
        x, gates, ids, experts = change(_inputs(*size))
        before = x.clone() if copy else x
        right = by_everybody(before.clone(), gates, ids, experts)
        y = layer(x, gates, ids, experts)
        slack = near or (1e-5 if x.dtype == torch.float32 else 0.05)
        if bool((y.float() - right.float()).abs().max() > slack) or not torch.equal(x, before):
            return True
    return False


def _changed(name, stage, says, change):
    def answer(layer):
        return _judge(layer, change=lambda given: change(*given))

    answer.__name__ = name
    EXERCISE.wrong(stage=stage, says=says)(answer)


@EXERCISE.wrong(stage="a verdict", says="True (it is wrong) or False")
def gives_the_largest_difference(layer):
    x, gates, ids, experts = _inputs(9, 4, torch.float32)
    return (layer(x, gates, ids, experts) - by_everybody(x, gates, ids, experts)).abs().max()


@EXERCISE.wrong(stage="right layers", says="off by a few roundings")
def allows_no_rounding_in_bfloat16(layer):
    return _judge(layer, near=1e-4)


@EXERCISE.wrong(stage="right layers", says="must stand (0, D)")
def has_experts_that_want_a_row(layer):
    def fussy(expert):
        return lambda rows: expert(rows) + (0 if len(rows) else 1 / 0)

    def change(given):
        return *given[:3], [fussy(expert) for expert in given[3]]

    try:
        return _judge(layer, change=change)
    except ZeroDivisionError:
        return True


@EXERCISE.wrong(stage="right layers", says="treat each row by itself")
def has_experts_that_look_at_all_rows(layer):
    def change(given):
        return *given[:3], [lambda rows: rows - rows.mean(0)] * len(given[3])

    return _judge(layer, change=change)


@EXERCISE.wrong(stage="right layers", says="not of how often an expert is asked")
def counts_the_rows(layer):
    asked = []

    def change(given):
        return *given[:3], [_counted(expert, asked) for expert in given[3]]

    return _judge(layer, change=change) or sum(asked) != 2 * (1 + 40 + 700) + 4 + 160 + 5600


def _counted(expert, asked):
    def counted(rows):
        asked.append(len(rows))
        return expert(rows)

    return counted


@EXERCISE.wrong(stage="the layer above", says="up to which number does bfloat16")
def tries_float32_alone(layer):
    return _judge(layer, sizes=LOUD)


@EXERCISE.wrong(stage="other broken layers", says="short cut for small batches")
def never_sends_one_token(layer):
    return _judge(layer, sizes=(LOUD[1], MANY))


@EXERCISE.wrong(stage="other broken layers", says="does something else besides")
def keeps_no_copy_of_x(layer):
    return _judge(layer, copy=False)


_changed(
    "has_one_expert_for_each_token",
    "other broken layers",
    "forgets an expert of a token",
    lambda x, gates, ids, experts: (x, gates[:, 1:], ids[:, 1:], experts),
)
_changed(
    "lists_experts_in_their_order",
    "other broken layers",
    "in another order",
    lambda x, gates, ids, experts: (x, gates, ids.flip(1), experts),
)
_changed(
    "has_gates_that_sum_to_one",
    "other broken layers",
    "it changes the gates",
    lambda x, gates, ids, experts: (x, gates / gates.sum(1, keepdim=True), ids, experts),
)
_changed(
    "has_linear_experts",
    "other broken layers",
    "before the expert and not after",
    lambda x, gates, ids, experts: (
        x,
        gates,
        ids,
        [lambda rows, e=e: rows / (e + 1) for e in range(len(experts))],
    ),
)
_changed(
    "gives_everybody_a_token",
    "other broken layers",
    "one of them has no token",
    lambda x, gates, ids, experts: (x, gates, ids - 1, experts[1:-1]),
)


@EXERCISE.wrong(stage="other broken layers", says="it turns choices away")
def has_experts_that_are_chosen_alike(layer):
    def change(given):
        x, gates, ids, experts = given
        ids = (torch.arange(2 * len(x)) % 2).view(-1, 2).flip(1) + 1
        return x, gates, ids, experts[:3]

    return _judge(layer, change=change)


@EXERCISE.right
def by_the_inputs_of_this_file(layer):
    return _judge(layer)


@EXERCISE.right
def by_a_loop_over_the_tokens(layer):
    for n_tokens, dtype in ((1, torch.float32), (600, torch.float32), (600, torch.bfloat16)):
        x, gates, ids, experts = _inputs(n_tokens, 9, dtype)
        wanted = [
            sum(
                g * experts[e](x[t]).float() for g, e in zip(gates[t], ids[t].tolist(), strict=True)
            )
            for t in range(n_tokens)
        ]
        held = x.clone()
        gap = layer(x, gates, ids, experts).float() - torch.stack(wanted)
        if float(gap.norm(dim=1).max()) > (0.1 if dtype == torch.bfloat16 else 1e-3):
            return True
        if not bool((x == held).all()):
            return True
    return False
