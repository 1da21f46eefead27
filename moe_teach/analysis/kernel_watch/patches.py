"""Standing between Triton's interpreter and memory for the time of a `with`.

All reads and writes of the interpreter go through four methods of its builder, whatever a kernel
uses: pointers, block pointers or descriptors, scalars or blocks. These four are replaced on the
one builder object and put back afterwards; a few more tell which launch and which program runs
and carry along which argument a pointer came from.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.recorder import Halt, Recorder

_ORIGIN = "moe_teach_origin"
_MISSING = object()


@contextmanager
def patched(recorder: Recorder) -> Iterator[None]:
    """Let the interpreter report to `recorder`, and restore it whatever happens."""
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    memory = _Memory(builder, recorder)
    launches = _Launches(builder, interpreter.GridExecutor.__call__, recorder)
    pointers = _Pointers(interpreter._implicit_cvt, recorder)
    replacements = [
        (interpreter.GridExecutor, "__call__", launches.launch),
        (interpreter, "_implicit_cvt", pointers.argument),
        (builder, "set_grid_dim", launches.set_grid_dim),
        (builder, "set_grid_idx", launches.set_grid_idx),
        (builder, "create_load", memory.load),
        (builder, "create_store", memory.store),
        (builder, "create_masked_load", memory.masked_load),
        (builder, "create_masked_store", memory.masked_store),
        (builder, "create_atomic_rmw", memory.atomic_rmw),
        (builder, "create_atomic_cas", memory.atomic_cas),
    ]
    before = [(owner, name, vars(owner).get(name, _MISSING)) for owner, name, _ in replacements]
    try:
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)
        yield
    finally:
        for owner, name, original in before:
            if original is not _MISSING:
                setattr(owner, name, original)
            elif name in vars(owner):
                delattr(owner, name)


class _Launches:
    """Tells which kernel and which program runs, and lets a fault out as itself."""

    def __init__(self, builder: Any, run: Any, recorder: Recorder) -> None:
        self._recorder = recorder
        self._set_grid_dim = builder.set_grid_dim
        self._set_grid_idx = builder.set_grid_idx
        self._kernel = ""

        def launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self._kernel = executor.fn.__name__
            try:
                return run(executor, *args, **kwargs)
            except Halt as halt:
                raise halt.fault from None

        self.launch = launch  # a plain function, because a class binds it to its executor

    def set_grid_dim(self, *grid: int) -> None:
        self._set_grid_dim(*grid)
        self._recorder.begin_launch(self._kernel, grid)

    def set_grid_idx(self, *program: int) -> None:
        self._set_grid_idx(*program)
        self._recorder.begin_program(program)


class _Memory:
    """Asks the recorder before every access; every other way to memory calls one of these."""

    def __init__(self, builder: Any, recorder: Recorder) -> None:
        self._touch = recorder.touch
        self._masked_load = builder.create_masked_load
        self._masked_store = builder.create_masked_store
        self._load = builder.create_load
        self._store = builder.create_store
        self._atomic_rmw = builder.create_atomic_rmw
        self._atomic_cas = builder.create_atomic_cas
        self._bare = False  # whether the kernel gave no mask: the builder then makes one itself

    def load(self, *args: Any) -> Any:
        self._bare = True
        try:
            return self._load(*args)
        finally:
            self._bare = False

    def store(self, *args: Any) -> Any:
        self._bare = True
        try:
            return self._store(*args)
        finally:
            self._bare = False

    def masked_load(self, ptrs: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        width = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
        self._ask("load", ptrs, None if self._bare else mask.data, width)
        return self._masked_load(ptrs, mask, *rest, **named)

    def masked_store(self, ptrs: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        self._ask("store", ptrs, None if self._bare else mask.data, value.data.itemsize)
        return self._masked_store(ptrs, value, mask, *rest, **named)

    def atomic_rmw(self, op: Any, ptr: Any, val: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        given = None if mask.data.all() else mask.data  # the language makes one where none is given
        self._ask("atomic", ptr, given, val.data.itemsize)
        return self._atomic_rmw(op, ptr, val, mask, *rest, **named)

    def atomic_cas(self, ptr: Any, cmp: Any, val: Any, *rest: Any, **named: Any) -> Any:
        self._ask("atomic", ptr, None, val.data.itemsize)
        return self._atomic_cas(ptr, cmp, val, *rest, **named)

    def _ask(self, kind: Any, pointers: Any, mask: Any, width: int) -> None:
        self._touch(kind, pointers.data, mask, width, getattr(pointers.dtype, _ORIGIN, None))


class _Pointers:
    """Lets the type of a pointer remember its argument: arithmetic hands the type on."""

    def __init__(self, convert: Any, recorder: Recorder) -> None:
        self._convert = convert
        self._recorder = recorder

    def argument(self, arg: Any) -> Any:
        value = self._convert(arg)
        if hasattr(arg, "data_ptr"):
            tensor = getattr(arg, "base", arg)
            origin = self._recorder.origin_of(None, Buffer("argument", tensor))
            value.handle.dtype = copy.copy(value.handle.dtype)
            setattr(value.handle.dtype, _ORIGIN, origin)
        return value
