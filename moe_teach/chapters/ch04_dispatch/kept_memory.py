"""What a function leaves behind in memory when it is over."""

import gc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef


class _Made(NamedTuple):
    """The memory of a tensor, without keeping it alive; its size in bytes; and it in words."""

    storage: StorageWeakRef
    size: int
    words: str


def still_alive(
    function: Callable[..., Tensor], given: dict[str, Any], at_least: int
) -> list[tuple[int, str]]:
    """Call `function`; give what it made and is still in memory, in bytes and in words.

    That is what autograd has saved and what Python objects hold, without the arguments, the result,
    and what has fewer bytes than `at_least`: whoever watches the call keeps copies of its
    arguments. (A dispatch mode would see every tensor, and loads the compiler for seconds first.)
    """
    saved: list[_Made] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(_made(tensor))
        return tensor

    before = {id(tensor) for tensor in _all_tensors()}
    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function(**given)
    gc.collect()
    held = [_made(tensor) for tensor in _all_tensors() if id(tensor) not in before]
    own = {_made(tensor).storage.cdata for tensor in (*given.values(), result)}
    found = {
        made.storage.cdata: (made.size, made.words)
        for made in (*saved, *held)
        if made.size >= at_least and not made.storage.expired() and made.storage.cdata not in own
    }
    return list(found.values())


def _all_tensors() -> Iterator[Tensor]:
    # By type: an object of the learner's may claim to be of any class, and raise when asked.
    return (one for one in gc.get_objects() if issubclass(type(one), Tensor))


def _made(tensor: Tensor) -> _Made:
    storage = tensor.untyped_storage()
    words = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    return _Made(StorageWeakRef(storage), storage.nbytes(), words)
