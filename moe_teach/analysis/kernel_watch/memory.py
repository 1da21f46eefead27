"""The builder methods of Triton's interpreter through which a kernel meets memory, watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from moe_teach.analysis.kernel_watch.kernel_line import kernel_line
from moe_teach.analysis.kernel_watch.marks import mark_open, marks_of
from moe_teach.analysis.kernel_watch.open_lanes import poison, switched_off
from moe_teach.analysis.kernel_watch.pointers import mark_loaded, origin_of
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import Door, Kind, OpenLoad, Wrap
from moe_teach.analysis.kernel_watch.request import Request


@dataclass(frozen=True)
class _Known:
    """What the outer methods know and the innermost ones do not."""

    masked: bool | None = True  # whether the kernel gave a mask; None if that cannot be told
    kind: Kind | None = None  # set where the access is atomic
    door: Door = "pointer"


# All of them reach memory through the four innermost methods. Not every release has all of them.
_OUTER = {
    "create_load": _Known(masked=False),
    "create_store": _Known(masked=False),
    "create_tensor_pointer_load": _Known(masked=None, door="block pointer"),
    "create_tensor_pointer_store": _Known(masked=None, door="block pointer"),
    "create_descriptor_load": _Known(masked=None, door="descriptor"),
    "create_descriptor_store": _Known(masked=None, door="descriptor"),
    "create_atomic_load": _Known(masked=None, kind="atomic load"),
    "create_atomic_poll": _Known(masked=None, kind="atomic load"),
    "create_atomic_store": _Known(masked=None, kind="atomic store"),
}


class Memory:
    """Asks the recorder before every access."""

    def __init__(self, semantic: Any, recorder: Recorder) -> None:
        self._statements = type(semantic)  # older releases make a new one for each launch
        self._builder = semantic.builder
        self._recorder = recorder
        self._known = _Known()
        self._has_other = False  # whether the tl.load that is going on was given `other`

    def replacements(self) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
        """Give the object, the name and the watched method for each that there is."""
        innermost = {
            "create_masked_load": self._load,
            "create_masked_store": self._store,
            "create_atomic_rmw": self._rmw,
            "create_atomic_cas": self._cas,
        }
        for name, known in _OUTER.items():
            if hasattr(self._builder, name):
                yield self._builder, name, self._outer(getattr(self._builder, name), known)
        for name, watched in innermost.items():
            yield self._builder, name, watched(getattr(self._builder, name))
        yield self._statements, "load", self._statement(self._statements.load)

    def _statement(self, original: Any) -> Callable[..., Any]:
        def load(semantic: Any, ptr: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
            # The interpreter takes an `other` of one lane for None where its value is zero.
            self._has_other = other is not None
            try:
                return original(semantic, ptr, mask, other, *rest, **named)
            finally:
                self._has_other = False

        return load

    def _outer(self, original: Any, known: _Known) -> Callable[..., Any]:
        def outer(*args: Any, **named: Any) -> Any:
            if self._known.kind:  # polling loads again and again: that stays atomic
                return original(*args, **named)
            with self._knowing(known):
                return original(*args, **named)

        return outer

    @contextmanager
    def _knowing(self, known: _Known) -> Iterator[None]:
        before, self._known = self._known, known
        try:
            yield
        finally:
            self._known = before

    def _load(self, original: Any) -> Callable[..., Any]:
        def masked_load(ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
            width = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
            self._ask("load", ptrs, mask, width)
            loaded = original(ptrs, mask, other, *rest, **named)
            if other is None and not self._has_other:
                self._leave_open(loaded, mask, _name_of(ptrs))
            return mark_loaded(loaded, _name_of(ptrs))

        return masked_load

    def _leave_open(self, loaded: Any, mask: Any, name: str | None) -> None:
        lanes = switched_off(loaded, mask)
        if lanes.any():
            line = kernel_line()
            self._recorder.note(OpenLoad(len(self._recorder.programs) - 1, line, name))
            if self._recorder.poison:
                poison(loaded, lanes)
                mark_open(loaded, lanes, line)

    def _store(self, original: Any) -> Callable[..., Any]:
        def masked_store(ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
            self._ask("store", ptrs, mask, value.data.itemsize, value.data)
            return original(ptrs, value, mask, *rest, **named)

        return masked_store

    def _rmw(self, original: Any) -> Callable[..., Any]:
        def atomic_rmw(op: Any, ptr: Any, val: Any, mask: Any, *rest: Any, **named: Any) -> Any:
            with self._knowing(_Known(masked=None)):  # the language makes a mask itself
                self._ask("atomic", ptr, mask, val.data.itemsize)
            return original(op, ptr, val, mask, *rest, **named)

        return atomic_rmw

    def _cas(self, original: Any) -> Callable[..., Any]:
        def atomic_cas(ptr: Any, cmp: Any, val: Any, *rest: Any, **named: Any) -> Any:
            with self._knowing(_Known(masked=False)):
                self._ask("atomic", ptr, None, val.data.itemsize)
            return original(ptr, cmp, val, *rest, **named)

        return atomic_cas

    def _ask(
        self, kind: Kind, pointers: Any, mask: Any, width: int, values: Any | None = None
    ) -> None:
        known = self._known
        # Old releases hand the mask of a block pointer over bare, without its handle; a mask that
        # was joined with a single condition comes as integers.
        is_masked = mask is not None and known.masked is not False
        active = np.asarray(mask.data, dtype=bool) if is_masked else None
        masked = known.masked
        if masked is None and active is not None and not active.all():
            masked = True
        request = Request(
            kind=known.kind or kind,
            pointers=pointers.data,
            mask=active,
            masked=masked,
            width=width,
            door=known.door,
            origin=origin_of(pointers),
            marks=marks_of(pointers),
            values=values,
        )
        marks = request.marks_of(request.addresses)
        if marks and marks.wrapped:
            program = len(self._recorder.programs) - 1
            self._recorder.note(Wrap(program, marks.wrapped, _name_of(pointers)))
        self._recorder.touch(request)


def _name_of(pointers: Any) -> str | None:
    """Return under which name a pointer's tensor is watched, if that is certain."""
    origin = origin_of(pointers)
    return origin.buffers[0].name if origin and len(origin.buffers) == 1 else None
