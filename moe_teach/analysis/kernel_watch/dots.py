"""The products of `tl.dot`, watched: the interpreter computes all of them in full precision."""

from collections.abc import Callable, Iterator
from typing import Any

from moe_teach.analysis.kernel_watch.kernel_line import kernel_line
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import NarrowDot


def dots(builder: Any, recorder: Recorder) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Note each product that a GPU computes with less than full float32 precision."""
    create_dot = builder.create_dot

    def dot(a: Any, b: Any, d: Any, input_precision: Any, *rest: Any, **named: Any) -> Any:
        precision = input_precision.name.lower()
        is_cut = a.dtype.is_fp32() and b.dtype.is_fp32() and precision != "ieee"
        is_short = d.dtype.is_floating() and d.dtype.primitive_bitwidth < 32
        if is_cut or is_short:
            cut = precision if is_cut else None
            program = len(recorder.programs) - 1
            recorder.note(NarrowDot(program, kernel_line(), cut, d.dtype.name))
        return create_dot(a, b, d, input_precision, *rest, **named)

    yield builder, "create_dot", dot
