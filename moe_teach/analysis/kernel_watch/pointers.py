"""Which watched tensors a pointer may reach, by the argument that it came from.

An address alone does not tell: memory past the end of one tensor may belong to the next, and a
store there would look right. So a pointer remembers the kernel's argument it was made from.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from moe_teach.analysis.kernel_watch.buffer import Buffer

_MARK = "moe_teach_origin"


@dataclass(frozen=True, eq=False)
class Origin:
    """The argument's name, and the watched tensors that its pointers may reach."""

    argument: str | None
    buffers: list[Buffer]


def reach(buffers: list[Buffer], tensor: Buffer) -> list[Buffer]:
    """Decide which watched tensors a pointer to `tensor` may reach, where they share memory.

    The one that is this very tensor (same address, shape and strides); else the smallest one that
    covers it; else all that overlap with it, the smallest first.
    """
    for buffer in buffers:
        if buffer.layout == tensor.layout:
            return [buffer]
    near = [b for b in buffers if b.base < tensor.end and tensor.base < b.end]
    covering = [b for b in near if b.base <= tensor.base and tensor.end <= b.end]
    return innermost_first(covering)[:1] or innermost_first(near)


def innermost_first(buffers: Iterable[Buffer]) -> list[Buffer]:
    """Sort buffers so that a view comes before the tensor that it is a view of."""
    return sorted(buffers, key=lambda buffer: buffer.span)


def arguments(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Any, str]:
    """Give the name of the kernel's parameter for each tensor of a call, by its layout."""
    named = [*zip(names, args, strict=False), *kwargs.items()]
    return {
        Buffer(name, tensor).layout: name for name, value in named for tensor in _tensors(value)
    }


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif hasattr(value, "data_ptr"):
        yield bare(value)
    elif hasattr(value, "block_shape"):  # a descriptor made by the host
        yield from _tensors(value.base)


def bare(tensor: Any) -> Any:
    """Unwrap a tensor that the caller reinterprets as another dtype."""
    return getattr(tensor, "base", tensor)


def origin_of(handle: Any) -> Origin | None:
    """Return where a pointer came from, None if that got lost (it was loaded from memory)."""
    return getattr(handle.dtype, _MARK, None)


def mark(handle: Any, origin: Origin | None) -> Any:
    """Let a pointer remember its origin: its type carries it, and arithmetic hands types on."""
    if origin is not None and handle.dtype.is_ptr():
        handle.dtype = copy.copy(handle.dtype)
        setattr(handle.dtype, _MARK, origin)
    return handle


def either(first: Any, second: Any) -> Origin | None:
    """Combine the origins of two pointers of which each lane takes one or the other."""
    one, other = origin_of(first), origin_of(second)
    if one is None or other is None or one is other:
        return one if one is other else None
    union = [*one.buffers, *(b for b in other.buffers if b not in one.buffers)]
    return Origin(None, innermost_first(union))
