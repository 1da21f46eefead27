"""Which watched tensors a pointer may reach, by the argument that it came from.

An address alone does not tell: memory past the end of one tensor may belong to the next, and a
store there would look right. So a pointer remembers the kernel's argument it was made from, and an
index remembers the tensor it was loaded from. Both sit in the type that the interpreter keeps with
every value: its arithmetic hands the type on, and types compare by name.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from moe_teach.analysis.kernel_watch.buffer import Buffer

_ORIGIN = "moe_teach_origin"
_SOURCE = "moe_teach_source"


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a pointer came from.

    Attributes:
        argument: the kernel's parameter, if it is known.
        buffers: the watched tensors that it may reach.
        index_from: the tensor from which the offset that was added to it was loaded, if any was.
    """

    argument: str | None
    buffers: list[Buffer]
    index_from: str | None = None


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
    return getattr(handle.dtype, _ORIGIN, None)


def mark(handle: Any, origin: Origin | None) -> Any:
    """Let a pointer remember its origin."""
    if origin is not None and handle.dtype.is_ptr():
        _note(handle, _ORIGIN, origin)
    return handle


def source_of(handle: Any) -> str | None:
    """Return the tensor that a number was computed from, as far as that is known."""
    return getattr(handle.dtype, _SOURCE, None)


def mark_loaded(handle: Any, source: str | None) -> Any:
    """Let an integer remember the tensor it was computed from; what it knew before stays."""
    if source is not None and handle.dtype.is_int() and source_of(handle) is None:
        _note(handle, _SOURCE, source)
    return handle


def _note(handle: Any, name: str, value: Any) -> None:
    handle.dtype = copy.copy(handle.dtype)  # types are shared, so this handle gets one of its own
    setattr(handle.dtype, name, value)


def moved(pointer: Any, origin: Origin | None, offset: Any) -> Any:
    """Let a pointer to which an offset was added remember where that was loaded from."""
    source = source_of(offset)
    if origin is None or source is None:
        return pointer
    return mark(pointer, replace(origin, index_from=source))


def either(first: Any, second: Any) -> Origin | None:
    """Combine the origins of two pointers of which each lane takes one or the other."""
    one, other = origin_of(first), origin_of(second)
    if one is None or other is None:
        return None
    if one.buffers == other.buffers:
        return one
    union = [*one.buffers, *(b for b in other.buffers if b not in one.buffers)]
    return Origin(None, innermost_first(union))
