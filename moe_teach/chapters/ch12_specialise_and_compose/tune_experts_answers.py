"""Exercise 12.5: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch12_specialise_and_compose.tune_experts import EXERCISE


def _masked(weights, optimizer, gradients, trained):
    for gradient in gradients:
        mask = torch.zeros(len(weights), 1, 1)
        mask[trained] = 1.0
        weights.grad = gradient * mask
        optimizer.step()
    return weights


@EXERCISE.wrong(stage="those that stay", says="what the optimiser remembers")
def masks_the_gradient(weights, optimizer, gradients, trained):
    return _masked(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that stay", says="what the optimiser remembers")
def switches_decay_off(weights, optimizer, gradients, trained):
    optimizer.param_groups[0]["weight_decay"] = 0.0
    return _masked(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that stay", says="weight decay asks for no gradient")
def clears_the_memory(weights, optimizer, gradients, trained):
    optimizer.state.clear()
    return _masked(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that learn", says="its momentum or some steps are gone")
def clears_the_memory_and_the_decay(weights, optimizer, gradients, trained):
    optimizer.state.clear()
    optimizer.param_groups[0]["weight_decay"] = 0.0
    return _masked(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that learn", says="its row was put back too")
def puts_everything_back(weights, optimizer, gradients, trained):
    before = weights.detach().clone()
    _masked(weights, optimizer, gradients, trained)
    with torch.no_grad():
        weights.copy_(before)
    return weights


@EXERCISE.right
def puts_back_at_the_end(weights, optimizer, gradients, trained):
    before = weights.detach().clone()
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    still = [e for e in range(len(weights)) if e not in trained]
    with torch.no_grad():
        weights[still] = before[still]
    return weights


@EXERCISE.right
def writes_the_learned_rows_only(weights, optimizer, gradients, trained):
    for gradient in gradients:
        before = weights.detach().clone()
        weights.grad = gradient
        optimizer.step()
        before[trained] = weights.detach()[trained]
        weights.data.copy_(before)
    return weights
