"""The tensors of a model by name, and a model made of tensors that are read one by one."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moe_teach.config import ModelConfig
from moe_teach.nn.model import Model


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give parameters and stored buffers, each once, also where two names share one tensor."""
    stored = model.state_dict(keep_vars=True)
    seen: set[int] = set()
    for name, tensor in stored.items():
        if isinstance(tensor, Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def outline(config: ModelConfig) -> Model:
    """Build a model that has shapes and no memory."""
    with torch.device("meta"), _Undrawn():
        return Model(config)


class _Undrawn(TorchFunctionMode):
    """Draw no random numbers: where there is no memory, torch loads half a compiler to do it."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, "__name__", "").endswith(("normal_", "uniform_")):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def materialise(model: Model, make: Callable[[str, Tensor], Tensor]) -> Model:
    """Give an outline its tensors, in evaluation mode; peak memory is the model and one tensor.

    Args:
        model: from `outline`; it is changed.
        make: called with a name and the outline's tensor, of the shape that must come back.
    """
    for name, empty in list(named_tensors(model)):
        path, _, leaf = name.rpartition(".")
        part = model.get_submodule(path)
        tensor = make(name, empty)
        if isinstance(empty, nn.Parameter):
            setattr(part, leaf, nn.Parameter(tensor, empty.requires_grad))
        else:
            setattr(part, leaf, tensor)
    if model.config.tie_embeddings:
        model.unembedding.weight = model.embedding.weight
    return model.eval()
