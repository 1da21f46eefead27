"""Calls under `torch.vmap`: one question for the whole batch, which the worker maps itself."""

from typing import Any

import torch


def is_batched(value: Any) -> bool:
    """Tell a tensor that stands for a whole batch, as functions see it under `torch.vmap`."""
    return isinstance(value, torch.Tensor) and torch._C._functorch.is_batchedtensor(value)


def call(peer: Any, number: int, args: tuple[Any, ...]) -> Any:
    """Call the function of this number on a batch."""
    return _Mapped.apply(peer, number, *args)


class _Mapped(torch.autograd.Function):
    @staticmethod
    def forward(peer: Any, number: int, *args: Any) -> Any:
        return peer.ask("call", number, list(args), {})

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: gradients flow where the batch is seen as a whole."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, peer: Any, number: int, *args: Any) -> Any:
        found = peer.ask("mapped", number, list(args), list(in_dims[2:]), info.randomness)
        return found, 0
