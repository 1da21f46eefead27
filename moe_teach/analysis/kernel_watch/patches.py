"""Standing between Triton's interpreter and memory for the time of a `with`.

All reads and writes of the interpreter go through four methods of its one builder object, whatever
a kernel uses: pointers, block pointers or descriptors, scalars or blocks. These are replaced on
that object and put back afterwards; a few more tell which launch and which program runs, and hand
on which argument a pointer came from. What a release of Triton does not have stays away.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from typing import Any

import numpy as np

from moe_teach.analysis.kernel_watch.dots import dots
from moe_teach.analysis.kernel_watch.marks import (
    keep,
    keep_by_moving,
    keep_in_arithmetic,
    marks_of,
)
from moe_teach.analysis.kernel_watch.memory import Memory
from moe_teach.analysis.kernel_watch.pointers import (
    arguments,
    bare,
    either,
    mark,
    mark_loaded,
    moved,
    origin_of,
    source_of,
)
from moe_teach.analysis.kernel_watch.recorder import Halt, Recorder
from moe_teach.analysis.kernel_watch.thrift import spared

_MISSING = object()
_LANE_MOVERS = (
    "create_broadcast",
    "create_expand_dims",
    "create_reshape",
    "create_splat",
    "create_split",
    "create_trans",
    "create_unsplat",
)


@contextmanager
def patched(recorder: Recorder) -> Iterator[None]:
    """Let the interpreter report to `recorder`, and restore it whatever happens."""
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    replacements = [
        *spared(interpreter, builder),
        *_launching(interpreter, builder, recorder),
        *_pointing(interpreter, builder, recorder),
        *_indexing(builder),
        *_moving(builder),
        *dots(builder, recorder),
        *Memory(interpreter.interpreter_semantic, recorder).replacements(),
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


def _launching(interpreter: Any, builder: Any, recorder: Recorder) -> Iterator[Any]:
    """Tell which kernel and which program runs, and let a fault out as itself."""
    run = interpreter.GridExecutor.__call__
    set_grid_dim, set_grid_idx = builder.set_grid_dim, builder.set_grid_idx

    def launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        recorder.enter(executor.fn.__name__, arguments(executor.arg_names, args, kwargs))
        try:
            with _quiet():
                return run(executor, *args, **kwargs)
        except Halt as halt:
            raise halt.fault from None

    def begin_launch(*grid: int) -> None:
        set_grid_dim(*grid)
        recorder.begin_launch(tuple(map(index, grid)))

    def begin_program(*program: int) -> None:
        set_grid_idx(*program)
        recorder.begin_program(tuple(map(index, program)))

    yield interpreter.GridExecutor, "__call__", launch
    yield builder, "set_grid_dim", begin_launch
    yield builder, "set_grid_idx", begin_program


def _pointing(interpreter: Any, builder: Any, recorder: Recorder) -> Iterator[Any]:
    """Let pointers remember their argument where the interpreter would forget it."""
    convert = interpreter._implicit_cvt
    bitcast, addptr = builder.create_bitcast, builder.create_addptr

    def argument(arg: Any) -> Any:
        value = convert(arg)
        if hasattr(arg, "data_ptr"):
            mark(value.handle, recorder.origin(bare(arg)))
        return value

    def cast_pointer(src: Any, dst_type: Any) -> Any:
        return mark(keep(bitcast(src, dst_type), src), origin_of(src))

    def add_offset(pointer: Any, offset: Any) -> Any:
        result = keep(addptr(pointer, offset), pointer, offset)
        return moved(result, origin_of(pointer), offset)

    def mixing(original: Any) -> Any:
        def mixed(*operands: Any) -> Any:
            result = original(*operands)
            if origin_of(result) is not None:
                mark(result, either(*operands[-2:]) or recorder.anywhere())
            return keep_by_moving(result, original, operands, operands[-2:])

        return mixed

    yield interpreter, "_implicit_cvt", argument
    yield builder, "create_bitcast", cast_pointer
    yield builder, "create_addptr", add_offset
    for name in ("create_select", "create_cat", "create_join"):
        yield builder, name, mixing(getattr(builder, name))


def _indexing(builder: Any) -> Iterator[Any]:
    """Let numbers remember where they were loaded, and which lanes nobody can trust."""
    binary_op, cast_impl = builder.binary_op, builder.cast_impl
    create_idiv = builder.create_idiv

    def calculate(lhs: Any, rhs: Any, op: Any) -> Any:
        result = keep_in_arithmetic(binary_op(lhs, rhs, op), lhs, rhs, op)
        return mark_loaded(result, source_of(rhs))

    def cast(src: Any, dst_type: Any) -> Any:
        return mark_loaded(keep(cast_impl(src, dst_type), src), source_of(src))

    def divide(lhs: Any, rhs: Any) -> Any:
        return keep(create_idiv(lhs, rhs), lhs, rhs)

    yield builder, "binary_op", calculate
    yield builder, "cast_impl", cast
    yield builder, "create_idiv", divide


def _moving(builder: Any) -> Iterator[Any]:
    """Let the marks of lanes go where the lanes go."""

    def moving(original: Any) -> Any:
        def move(*args: Any) -> Any:
            marked = [arg for arg in args if marks_of(arg)]
            return keep_by_moving(original(*args), original, args, marked)

        return move

    for name in _LANE_MOVERS:
        yield builder, name, moving(getattr(builder, name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow numpy's warnings about a NaN that the watcher itself put there."""
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice encountered")
        yield
