"""Exercise 5.7: repairs that leave something broken, and right ones."""

import contextlib

import torch
from torch.nn.functional import cross_entropy, log_softmax

from moe_teach.chapters.ch05_language_model.evaluate_model import EXERCISE


@contextlib.contextmanager
def _asleep(model):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        yield
    for module, mode in modes:
        module.training = mode


def _nats(model, batch, how="sum"):
    logits = model(batch.inputs).logits.float().flatten(0, 1)
    return cross_entropy(logits, batch.targets.flatten(), reduction=how)


def _summed(model, batches):
    nats, n_asked = 0.0, 0
    for batch in batches:
        nats += _nats(model, batch).item()
        n_asked += int((batch.targets != -100).sum())
    return nats / n_asked


@EXERCISE.wrong(stage="a number", says="plain float")
def returns_a_tensor(model, batches):
    with _asleep(model):
        losses = [_nats(model, batch, "mean") for batch in batches]
    return sum(losses) / len(losses)


@EXERCISE.wrong(stage="as in the example", says="shifted already")
def shifts_once_more(model, batches):
    nats, n_asked = 0.0, 0
    with _asleep(model):
        for batch in batches:
            logits, targets = model(batch.inputs).logits[:, :-1], batch.targets[:, 1:]
            nats += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
            n_asked += int((targets != -100).sum())
    return nats / n_asked


@EXERCISE.wrong(stage="other batches", says="Each batch counts the same")
def averages_the_means(model, batches):
    with _asleep(model):
        losses = [_nats(model, batch, "mean").item() for batch in batches]
    return sum(losses) / len(losses)


@EXERCISE.wrong(stage="a silent batch", says="0 / 0")
def weighs_the_means(model, batches):
    total, n_asked = 0.0, 0
    with _asleep(model):
        for batch in batches:
            asked = int((batch.targets != -100).sum())
            total += _nats(model, batch, "mean").item() * asked
            n_asked += asked
    return total / n_asked


@EXERCISE.wrong(stage="low precision", says="Call `.float()`")
def trusts_the_dtype(model, batches):
    nats, n_asked = 0.0, 0
    with _asleep(model):
        for batch in batches:
            logits, targets = model(batch.inputs).logits, batch.targets
            nats += cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
            n_asked += int((targets != -100).sum())
    return nats / n_asked


@EXERCISE.wrong(stage="evaluation", says="outside `torch.no_grad()`")
def records_gradients(model, batches):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    loss = _summed(model, batches)
    for module, mode in modes:
        module.training = mode
    return loss


@EXERCISE.wrong(stage="left as it was", says="evaluation mode for good")
@torch.no_grad()
def forgets_to_wake_it_up(model, batches):
    model.eval()
    return _summed(model, batches)


@EXERCISE.wrong(stage="left as it was", says="`train()` is called at the end")
@torch.no_grad()
def wakes_everybody_up(model, batches):
    model.eval()
    loss = _summed(model, batches)
    model.train()
    return loss


@EXERCISE.wrong(stage="left as it was", says="the frozen ones as well")
@torch.no_grad()
def keeps_the_mode_of_the_whole(model, batches):
    was_training = model.training
    model.eval()
    loss = _summed(model, batches)
    model.train(was_training)
    return loss


@EXERCISE.right
def with_a_context(model, batches):
    with _asleep(model):
        return _summed(model, batches)


@EXERCISE.right
@torch.inference_mode()
def on_lists_of_nats(model, batches):
    asleep = [part for part in model.modules() if not part.training]
    was_training = model.training
    model.eval()
    nats = []
    for batch in batches:
        logs = log_softmax(model(batch.inputs).logits.double(), dim=-1)
        asked = batch.targets != -100
        nats += (-logs[asked].gather(-1, batch.targets[asked][:, None])).flatten().tolist()
    model.train(was_training)
    for part in asleep:
        part.training = False
    return sum(nats) / len(nats)


@EXERCISE.right
def one_row_at_a_time(model, batches):
    with _asleep(model):
        losses = []
        for batch in batches:
            for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
                logits = model(inputs[None]).logits[0].float()
                each = cross_entropy(logits, targets, reduction="none")
                losses.append(each[targets != -100])
        return torch.cat(losses).mean().item()
