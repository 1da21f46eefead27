"""Exercise 5.6: wrong answers with what they must be told, and other right ones."""

import torch
from torch import nn
from torch.nn import functional

from moe_teach.chapters.ch05_language_model.train_loop import EXERCISE
from moe_teach.chapters.ch05_language_model.training_runs import right_loop
from moe_teach.ops.losses import load_balance_loss


@EXERCISE.wrong(stage="what comes back", says="one loss for each step")
def returns_the_last_loss(*given, **named):
    return right_loop(*given, **named)[-1]


@EXERCISE.wrong(stage="what comes back", says="a graph keeps everything")
def returns_tensors(*given, **named):
    return [torch.tensor(loss, requires_grad=True) for loss in right_loop(*given, **named)]


@EXERCISE.wrong(stage="what comes back", says="in evaluation mode")
def stays_in_evaluation(*given, **named):
    return right_loop(*given, slip="eval", **named)


@EXERCISE.wrong(stage="a step at a time", says="are still there: `backward()` adds")
def never_empties(*given, **named):
    return right_loop(*given, slip="no zero_grad", **named)


@EXERCISE.wrong(stage="a step at a time", says="from the same batch")
def rides_one_batch(*given, **named):
    return right_loop(*given, slip="one batch", **named)


@EXERCISE.wrong(stage="a step at a time", says="never clipped")
def never_clips(*given, **named):
    return right_loop(*given, slip="no clip", **named)


@EXERCISE.wrong(stage="a step at a time", says="keeps the learning rate it was made with")
def forgets_the_schedule(*given, **named):
    return right_loop(*given, slip="no rate", **named)


@EXERCISE.wrong(stage="a step at a time", says="set after the step")
def is_one_step_late(*given, **named):
    return right_loop(*given, slip="rate late", **named)


@EXERCISE.wrong(stage="a step at a time", says="Only the first of the optimiser's groups")
def sets_one_group(*given, **named):
    return right_loop(*given, slip="one group", **named)


@EXERCISE.wrong(stage="a step at a time", says="never move")
def never_steps(*given, **named):
    return right_loop(*given, slip="no step", **named)


@EXERCISE.wrong(stage="a step at a time", says="divided by all positions")
def counts_padding(*given, **named):
    return right_loop(*given, slip="padding counts", **named)


@EXERCISE.wrong(stage="a step at a time", says="not in what `backward()` starts from")
def logs_the_balance_only(*given, **named):
    return right_loop(*given, slip="no balance", **named)


@EXERCISE.wrong(stage="a step at a time", says="Take their mean")
def sums_the_layers(*given, **named):
    return right_loop(*given, slip="sum of layers", **named)


@EXERCISE.wrong(stage="a step at a time", says="These are total losses")
def returns_totals(*given, **named):
    return right_loop(*given, slip="total", **named)


@EXERCISE.wrong(stage="in parts", says="The parts' means were averaged")
def averages_means(*given, **named):
    return right_loop(*given, slip="mean of means", **named)


@EXERCISE.wrong(stage="in parts", says="Each part's mean was added up")
def adds_means(*given, **named):
    return right_loop(*given, slip="part's mean", **named)


@EXERCISE.wrong(stage="in parts", says="counts several times")
def balances_in_every_part(*given, **named):
    return right_loop(*given, slip="balance uncut", **named)


@EXERCISE.wrong(stage="its helpers", says="once for each step, after the update")
def never_tells(*given, on_step=None, **named):
    return right_loop(*given, **named)


@EXERCISE.wrong(stage="its helpers", says="in the place of the one that was handed in")
def knows_one_balance_loss(*given, balance_loss=None, **named):
    return right_loop(*given, **named)


def _in_place_of_backward(model, batch, balance_loss, coef, accumulate):
    """Take the gradient of the whole batch at once, of a loss that is put together first."""
    outputs = [model(part) for part in batch.inputs.chunk(accumulate)]
    logits = torch.cat([output.logits for output in outputs]).flatten(0, 1)
    task = functional.cross_entropy(logits, batch.targets.flatten())
    losses = [balance_loss(routing) for output in outputs for routing in output.routings]
    (task + coef * sum(losses) / len(losses)).backward()
    return task.item(), outputs


@EXERCISE.right
def by_one_sum(
    model, optimizer, batches, n_steps, lr_at, balance_loss=load_balance_loss, balance_coef=0.01,
    clip=1.0, accumulate=1, on_step=None,
):  # fmt: skip
    model.train()
    losses = [0.0] * n_steps
    for step in range(n_steps):
        model.zero_grad()
        losses[step], outputs = _in_place_of_backward(
            model, batches.at(step), balance_loss, balance_coef, accumulate
        )
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, clip / (float(norm) + 1e-6))
        for group in optimizer.param_groups:
            group.update(lr=lr_at(step))
        optimizer.step()
        if on_step:
            on_step(step, outputs)
    return losses


@EXERCISE.right
def with_slices_and_late_emptying(
    model, optimizer, batches, n_steps, lr_at, balance_loss=load_balance_loss, balance_coef=0.01,
    clip=1.0, accumulate=1, on_step=None,
):  # fmt: skip
    losses = []
    model.train()
    optimizer.zero_grad()
    for step in range(n_steps):
        batch, outputs, nats = batches.at(step), [], 0.0
        n_asked = (batch.targets >= 0).sum().item()
        size = len(batch.inputs) // accumulate
        for first in range(0, len(batch.inputs), size):
            outputs.append(model(batch.inputs[first : first + size]))
            asked = batch.targets[first : first + size]
            told = outputs[-1].logits.log_softmax(-1).gather(-1, asked.clamp(min=0)[..., None])
            wrong = -(told[..., 0] * (asked >= 0)).sum() / n_asked
            routings = outputs[-1].routings
            balance = sum(balance_loss(routing) for routing in routings) / len(routings)
            torch.add(wrong, balance, alpha=balance_coef / accumulate).backward()
            nats += wrong.item()
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        nn.utils.clip_grad_norm_(list(model.parameters()), max_norm=clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(nats)
        if on_step is not None:
            on_step(step, outputs)
    return losses
