"""What a function leaves behind in memory when it is over."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class _Made(TorchDispatchMode):
    """Remembers the memory of every tensor that an operation makes, and keeps none of it alive."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: list[tuple[StorageWeakRef, int, str]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for made in results if isinstance(results, tuple | list) else (results,):
            if isinstance(made, Tensor):
                words = f"{tuple(made.shape)} {str(made.dtype).removeprefix('torch.')}"
                size = made.untyped_storage().nbytes()
                self.storages.append((_weak(made), size, words))
        return results


def still_alive(function: Callable[..., Tensor], given: dict[str, Any]) -> list[tuple[int, str]]:
    """Call `function`; give what it made and is still in memory, in bytes and in words.

    The arguments and the result are not counted.
    """
    with torch.enable_grad(), _Made() as made:
        result = function(**given)
    own = {_weak(tensor).cdata for tensor in (*given.values(), result)}
    found = {
        storage.cdata: (size, words)
        for storage, size, words in made.storages
        if not storage.expired() and storage.cdata not in own
    }
    return list(found.values())


def _weak(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())
