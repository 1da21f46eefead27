"""What a function leaves behind in memory when it is over."""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from moe_teach.judging.elsewhere import ability


class _Made(NamedTuple):
    """The memory of a tensor, without keeping it alive; its size in bytes; and it in words."""

    storage: StorageWeakRef
    size: int
    words: str


def still_alive(
    function: Callable[..., Tensor], given: dict[str, Any], at_least: int
) -> list[tuple[int, str, bool]]:
    """Call `function`; give what it made and is still in memory: bytes, words, saved by autograd.

    That is what autograd has saved and what Python objects hold, without the arguments, the result,
    and what has fewer bytes than `at_least`: whoever watches the call keeps copies of its
    arguments. (A dispatch mode would see every tensor, and loads the compiler for seconds first.)
    """
    if there := ability(function, "kept"):
        return [
            (int(size), str(words), bool(is_saved))
            for size, words, is_saved in there(given, at_least)
        ]
    saved: list[_Made] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(_made(tensor))
        return tensor

    # What is there already is set aside: a large process has a million objects, a call makes few.
    gc.freeze()
    try:
        with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
            result = function(**given)
        gc.collect()
        new = gc.get_objects()
        own = {_made(tensor).storage.cdata for tensor in (*given.values(), result)}
        found = {
            made.storage.cdata: (made.size, made.words, is_saved)
            for is_saved, some in ((False, list(_all_made(new))), (True, saved))
            for made in some
            if made.size >= at_least
            and not made.storage.expired()
            and made.storage.cdata not in own
        }
    finally:
        gc.unfreeze()
    return list(_without_old(found, new).values()) if found else []


def _without_old(found: dict[int, Any], new: list[Any]) -> dict[int, Any]:
    """Leave out what was in memory before the call: the function only looked at it again."""
    known = {id(one) for one in new}
    old = [one for one in gc.get_objects() if id(one) not in known]
    before = {made.storage.cdata for made in _all_made(old)}
    return {key: told for key, told in found.items() if key not in before}


def _all_made(objects: list[Any]) -> Iterator[_Made]:
    """Walk through the tensors among Python objects; some kinds have no storage to ask for."""
    for one in objects:
        # By type: an object of the learner's may claim to be of any class, and raise when asked.
        if issubclass(type(one), Tensor):
            with suppress(Exception):
                yield _made(one)


def _made(tensor: Tensor) -> _Made:
    storage = tensor.untyped_storage()
    words = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    return _Made(StorageWeakRef(storage), storage.nbytes(), words)
