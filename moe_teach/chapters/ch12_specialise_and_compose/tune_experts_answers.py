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


@EXERCISE.wrong(stage="those that learn", says="Both its weight decay and its momentum are gone")
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


def _repaired(weights, optimizer, gradients, trained):
    """Step, and put back at the end whoever was to stay."""
    before = weights.detach().clone()
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    still = [e for e in range(len(weights)) if e not in trained]
    with torch.no_grad():
        weights[still] = before[still]
    return weights


@EXERCISE.wrong(stage="those that stay", says="view of the weights, and move with them")
def keeps_a_view(weights, optimizer, gradients, trained):
    kept = {e: weights.detach()[e] for e in range(len(weights)) if e not in trained}
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    with torch.no_grad():
        for expert, row in kept.items():
            weights[expert] = row
    return weights


@EXERCISE.wrong(stage="those that stay", says="which rounds")
def divides_the_decay_out_again(weights, optimizer, gradients, trained):
    still = [e for e in range(len(weights)) if e not in trained]
    group, memory = optimizer.param_groups[0], optimizer.state[weights]
    memory["exp_avg"][still] = 0.0
    for gradient in gradients:
        _masked(weights, optimizer, [gradient], trained)
        with torch.no_grad():
            weights[still] /= 1 - group["lr"] * group["weight_decay"]
    return weights


@EXERCISE.wrong(stage="those that stay", says="gradients that were handed in have changed")
def writes_the_mask_into_the_gradients(weights, optimizer, gradients, trained):
    still = [e for e in range(len(weights)) if e not in trained]
    for gradient in gradients:
        gradient[still] = 0.0
    return _repaired(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that stay", says="must return the weights that it was given")
def returns_a_copy(weights, optimizer, gradients, trained):
    return torch.nn.Parameter(_repaired(weights, optimizer, gradients, trained).detach().clone())


@EXERCISE.wrong(stage="those that learn", says="Its weight decay is gone")
def switches_decay_off_for_a_while(weights, optimizer, gradients, trained):
    group = optimizer.param_groups[0]
    decay, group["weight_decay"] = group["weight_decay"], 0.0
    _repaired(weights, optimizer, gradients, trained)
    group["weight_decay"] = decay
    return weights


@EXERCISE.wrong(stage="those that learn", says="Its momentum is gone")
def starts_a_new_optimiser(weights, optimizer, gradients, trained):
    settings = {n: optimizer.param_groups[0][n] for n in ("lr", "weight_decay")}
    return _repaired(weights, type(optimizer)([weights], **settings), gradients, trained)


@EXERCISE.wrong(stage="those that learn", says="Its moments were set to zero")
def zeroes_everybodys_moments(weights, optimizer, gradients, trained):
    for name in ("exp_avg", "exp_avg_sq"):
        optimizer.state[weights][name].zero_()
    return _repaired(weights, optimizer, gradients, trained)


@EXERCISE.wrong(stage="those that learn", says="some are missing, summed or changed")
def adds_the_gradients_up(weights, optimizer, gradients, trained):
    sums = [sum(gradients[: i + 1]) for i in range(len(gradients))]
    return _repaired(weights, optimizer, sums, trained)


@EXERCISE.wrong(stage="what comes after", says="the weights want no gradient any longer")
def leaves_the_weights_without_gradients(weights, optimizer, gradients, trained):
    before = weights.detach().clone()
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    weights.requires_grad_(False)
    for expert in range(len(weights)):
        if expert not in trained:
            weights[expert] = before[expert]
    return weights


@EXERCISE.wrong(stage="what comes after", says="A hook of the repair is still there")
def leaves_a_hook(weights, optimizer, gradients, trained):
    before = weights.detach().clone()
    still = [e for e in range(len(weights)) if e not in trained]

    def put_back(*_):
        weights.data[still] = before[still]

    optimizer.register_step_post_hook(put_back)
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    return weights


@EXERCISE.right
def puts_back_at_the_end(weights, optimizer, gradients, trained):
    return _repaired(weights, optimizer, gradients, trained)


@EXERCISE.right
def decays_the_trained_by_hand(weights, optimizer, gradients, trained):
    group, memory = optimizer.param_groups[0], optimizer.state[weights]
    decay, group["weight_decay"] = group["weight_decay"], 0.0
    still = [e for e in range(len(weights)) if e not in trained]
    for name in ("exp_avg", "exp_avg_sq"):
        memory[name][still] = 0.0
    for gradient in gradients:
        with torch.no_grad():
            weights[trained] *= 1 - group["lr"] * decay
        _masked(weights, optimizer, [gradient], trained)
    group["weight_decay"] = decay
    return weights


@EXERCISE.right
def trains_a_tensor_of_their_own(weights, optimizer, gradients, trained):
    part = torch.nn.Parameter(weights.detach()[trained].clone())
    settings = {n: optimizer.param_groups[0][n] for n in ("lr", "betas", "eps", "weight_decay")}
    own, memory = type(optimizer)([part], **settings), optimizer.state[weights]
    own.state[part] = {n: t[trained] if t.dim() else t for n, t in memory.items()}
    for gradient in gradients:
        part.grad = gradient[trained]
        own.step()
    with torch.no_grad():
        weights[trained] = part
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
