"""Exercise 6.7: wrong answers with what they must be told, and other right ones."""

import torch
from torch.nn.functional import one_hot

from moe_teach.chapters.ch06_load_balancing.balanced_parts import PARTS, right
from moe_teach.chapters.ch06_load_balancing.balanced_training import EXERCISE
from moe_teach.judging.stand_ins import plain_route

CURES = ("none", "loss", "bias")


def _demand(cure):
    if cure not in CURES:
        raise ValueError(f"There is no cure {cure!r}.")


def _slipping(slip, given, named, only=CURES):
    model, optimizer, batches, n_steps, lr, cure, strength = given
    _demand(cure)
    slip = slip if cure in only else ""
    return right(model, optimizer, batches, n_steps, lr, cure, strength, slip=slip, **named)


@EXERCISE.wrong(stage="what comes back", says="came as a list")
def returns_the_losses(*given, **named):
    return (named.get("loop") or PARTS["loop"])(*given[:4], lambda step: given[4])


@EXERCISE.wrong(stage="what comes back", says="one row for each step")
def counts_the_last_step(*given, **named):
    return _slipping("", given, named)[-1]


@EXERCISE.wrong(stage="no cure", says="The loop balances by itself")
def leaves_the_default_on(*given, **named):
    return _slipping("default", given, named, only=("none",))


@EXERCISE.wrong(stage="the loss", says="ends elsewhere. Does every part get")
def halves_the_strength(*given, **named):
    *before, strength = given
    return _slipping("", (*before, strength / 2), named)


@EXERCISE.wrong(stage="the loss", says="The loop used its own balancing loss")
def leaves_the_loss_to_the_loop(*given, **named):
    return _slipping("library", given, named)


@EXERCISE.wrong(stage="the bias", says="balance_coef is for")
def cures_twice(*given, **named):
    return _slipping("both", given, named, only=("bias",))


@EXERCISE.wrong(stage="the bias", says="The bias never moves")
def forgets_to_move(*given, **named):
    return _slipping("still", given, named)


@EXERCISE.wrong(stage="the bias", says="towards the crowd")
def moves_the_wrong_way(*given, **named):
    return _slipping("sign", given, named)


@EXERCISE.wrong(stage="the bias", says="added to the logits")
def biases_logits(*given, **named):
    return _slipping("logits", given, named)


@EXERCISE.wrong(stage="the bias", says="It chooses and never weighs")
def lets_the_bias_weigh(*given, **named):
    return _slipping("weighs", given, named)


@EXERCISE.wrong(stage="the bias", says="divided by their sum")
def leaves_gates_raw(*given, **named):
    return _slipping("raw gates", given, named)


@EXERCISE.wrong(stage="another word", says="Whoever misspells a cure")
def trusts_every_word(*given, **named):
    return right(*given, **named)


@EXERCISE.wrong(stage="with your parts", says="With your own part `move`, the answer to 6.3")
def brings_a_broken_move(*given, **named):
    named.setdefault("move", lambda bias, ids, rate: bias - rate)
    return _slipping("", given, named)


@EXERCISE.wrong(stage="with your parts", says="It raises TypeError")
def brings_a_loop_without_doors(*given, **named):
    named.setdefault("loop", lambda model, optimizer, batches, n_steps, lr_at: [])
    return _slipping("", given, named)


@EXERCISE.wrong(stage="new tokens", says="keep its biased route")
def takes_the_bias_back(*given, **named):
    counts = _slipping("", given, named)
    given[0].layer.route = plain_route
    return counts


class _Steered:
    """A route with a bias of its own."""

    def __init__(self, n_experts):
        self.bias = torch.zeros(n_experts)

    def __call__(self, logits, top_k, normalize_gates=True):
        probs = logits.softmax(dim=-1)
        order = (probs + self.bias).argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        gates = torch.take_along_dim(probs, order, dim=-1)
        total = gates.sum(dim=-1, keepdim=True) if normalize_gates else 1.0
        return gates / total, order


@EXERCISE.right
def with_an_object_that_routes(model, optimizer, batches, n_steps, lr, cure, strength, **parts):
    _demand(cure)
    parts = {**PARTS, **parts}
    n_experts, table = len(model.layer.router.weight), []
    steered = _Steered(n_experts)
    if cure == "bias":
        model.layer.route = steered

    def note(step, outputs):
        chosen = outputs[0].routings[0].expert_ids
        table.append(one_hot(chosen, n_experts).sum(dim=(0, 1)))
        if cure == "bias":
            steered.bias = parts["move"](steered.bias, chosen, rate=strength)

    def uneven(routing):
        return parts["balance"](routing.probs, routing.expert_ids)

    coef = {"none": 0.0, "loss": strength, "bias": 0.0}[cure]
    parts["loop"](model, optimizer, batches, n_steps, lambda step: lr, uneven, coef, on_step=note)
    return torch.stack(table).int()


@EXERCISE.right
def with_the_loss_switched_off_by_a_zero(*given, **named):
    model, optimizer, batches, n_steps, lr, cure, strength = given
    _demand(cure)
    if cure == "none":
        cure, strength = "loss", 0.0
    return right(model, optimizer, batches, n_steps, lr, cure, strength, **named)
