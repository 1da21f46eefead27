"""Puts a model to sleep for a while, and each of its parts back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
