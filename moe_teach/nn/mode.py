"""Puts a model to sleep for a while, and each of its parts back as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

AModel = TypeVar("AModel", bound=nn.Module)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Put all parts in evaluation mode; afterwards each has its own mode back.

    `model.train(was_training)` would reach all of them, also those that somebody has frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def twin(model: AModel) -> AModel:
    """Return a model of the same weights, not copied, whose modes and settings are its own.

    What is trained or replaced in one is there in the other; `train()`, `eval()` or another
    capacity of one leave the other alone.
    """
    shared = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
