"""Kernels as operators of torch, so that a compiled graph need not break where one is launched.

An operator is a name, `torch.ops.moe_teach.NAME`, with a rule for the shapes of its results and
one for its gradient. The compiler plans with the rules and calls the name. Called step by step the
same functions are a `torch.autograd.Function`, which costs less on the way to a launch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PLAIN = (Tensor, nn.Parameter)


def registered(
    name: str,
    forward: Callable[..., Any],
    shapes: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register `moe_teach::name` and return the function to call, whose first argument is a tensor.

    Args:
        name: of the operator.
        forward: computes, and changes none of its arguments; its annotations are the schema.
        shapes: takes the same arguments and returns empty results.
        setup: `setup(ctx, inputs, output)` saves what `backward(ctx, *gradients)` needs.
        backward: absent where nothing is differentiable.
    """
    operator = torch.library.custom_op(f"moe_teach::{name}", forward, mutates_args=())
    operator.register_fake(shapes)
    step = forward
    if backward is not None:
        operator.register_autograd(backward, setup_context=setup)
        parts = {
            "forward": forward,
            "setup_context": setup,
            "backward": once_differentiable(backward),
        }
        methods = {key: staticmethod(function) for key, function in parts.items()}
        step = type(name, (torch.autograd.Function,), methods).apply

    def call(first: Tensor, *others: Any) -> Any:
        # While torch traces a backward pass, its tensors are of classes that have no memory.
        if torch.compiler.is_dynamo_compiling() or type(first) not in _PLAIN:
            return operator(first, *others)
        return step(first, *others)

    return call


def nothing(like: Tensor) -> Tensor:
    """Return the result that an operator gives where none was asked for."""
    return like.new_empty(0)


def or_none(result: Tensor, wanted: bool) -> Tensor | None:
    """Turn `nothing` back into None."""
    return result if wanted else None


def somebody_differentiates(*tensors: Tensor | None) -> bool:
    """Tell whether a backward pass can follow: inside a function of autograd it cannot be seen."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
