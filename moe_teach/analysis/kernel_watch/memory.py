"""The builder methods of Triton's interpreter through which a kernel meets memory, watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from moe_teach.analysis.kernel_watch.pointers import mark_loaded, origin_of
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import Kind
from moe_teach.analysis.kernel_watch.request import Request

_INNERMOST = {
    "create_masked_load": "load",
    "create_masked_store": "store",
    "create_atomic_rmw": "rmw",
    "create_atomic_cas": "cas",
}
# These call the innermost ones, and know more than they: whether the kernel gave a mask at all
# (None: it cannot be told), and whether the access is atomic. Not every release has all of them.
_OUTER: dict[str, tuple[bool | None, Kind | None]] = {
    "create_load": (False, None),
    "create_store": (False, None),
    "create_tensor_pointer_load": (None, None),
    "create_tensor_pointer_store": (None, None),
    "create_atomic_load": (None, "atomic load"),
    "create_atomic_poll": (None, "atomic load"),
    "create_atomic_store": (None, "atomic store"),
}


class Memory:
    """Asks the recorder before every access."""

    def __init__(self, builder: Any, recorder: Recorder) -> None:
        self._builder = builder
        self._recorder = recorder
        self._masked: bool | None = True
        self._kind: Kind | None = None

    def replacements(self) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
        """Give the object, the name and the watched method for each that there is."""
        for name, (masked, kind) in _OUTER.items():
            if hasattr(self._builder, name):
                yield self._builder, name, self._outer(getattr(self._builder, name), masked, kind)
        for name, watched in _INNERMOST.items():
            method = getattr(self, f"_{watched}")
            yield self._builder, name, method(getattr(self._builder, name))

    def _outer(self, original: Any, masked: bool | None, kind: Kind | None) -> Callable[..., Any]:
        def outer(*args: Any, **named: Any) -> Any:
            with self._knowing(masked, kind or self._kind):
                return original(*args, **named)

        return outer

    @contextmanager
    def _knowing(self, masked: bool | None, kind: Kind | None) -> Iterator[None]:
        before = self._masked, self._kind
        self._masked, self._kind = masked, kind
        try:
            yield
        finally:
            self._masked, self._kind = before

    def _load(self, original: Any) -> Callable[..., Any]:
        def masked_load(ptrs: Any, mask: Any, *rest: Any, **named: Any) -> Any:
            width = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
            self._ask("load", ptrs, mask, width)
            return mark_loaded(original(ptrs, mask, *rest, **named), _name_of(ptrs))

        return masked_load

    def _store(self, original: Any) -> Callable[..., Any]:
        def masked_store(ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
            self._ask("store", ptrs, mask, value.data.itemsize, value.data)
            return original(ptrs, value, mask, *rest, **named)

        return masked_store

    def _rmw(self, original: Any) -> Callable[..., Any]:
        def atomic_rmw(op: Any, ptr: Any, val: Any, mask: Any, *rest: Any, **named: Any) -> Any:
            with self._knowing(None, "atomic"):
                self._ask("atomic", ptr, mask, val.data.itemsize)
            return original(op, ptr, val, mask, *rest, **named)

        return atomic_rmw

    def _cas(self, original: Any) -> Callable[..., Any]:
        def atomic_cas(ptr: Any, cmp: Any, val: Any, *rest: Any, **named: Any) -> Any:
            with self._knowing(False, "atomic"):
                self._ask("atomic", ptr, None, val.data.itemsize)
            return original(ptr, cmp, val, *rest, **named)

        return atomic_cas

    def _ask(
        self, kind: Kind, pointers: Any, mask: Any, width: int, values: Any | None = None
    ) -> None:
        # Old releases hand the mask of a block pointer over bare, without its handle.
        active = (
            None if mask is None or self._masked is False else np.asarray(mask.data, dtype=bool)
        )
        masked = self._masked
        if masked is None and active is not None and not active.all():
            masked = True
        self._recorder.touch(
            Request(
                kind=self._kind or kind,
                pointers=pointers.data,
                mask=active,
                masked=masked,
                width=width,
                origin=origin_of(pointers),
                values=values,
            )
        )


def _name_of(pointers: Any) -> str | None:
    """Return under which name a pointer's tensor is watched, if that is certain."""
    origin = origin_of(pointers)
    return origin.buffers[0].name if origin and len(origin.buffers) == 1 else None
