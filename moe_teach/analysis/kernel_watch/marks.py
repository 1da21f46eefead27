"""Which lanes of an integer cannot be trusted, and since which line of the kernel.

A lane is *open* where it was loaded under a mask without `other`, and *wrapped* where a sum or a
product left the range of its type. Neither is a mistake yet: lanes that are switched off may hold
anything. So the marks travel with the value, lane by lane, until an address is made of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.kernel_line import Line, kernel_line

_MARKS = "moe_teach_marks"
_OPEN, _WRAPPED = 1, 2
_GROWING = (np.add, np.subtract, np.multiply, np.left_shift)
# Other operations (a remainder, a bitwise "and") fold a number that was meant to be large: hashing.
_KEEPING = (*_GROWING, np.minimum, np.maximum)


@dataclass(frozen=True, eq=False)
class Marks:
    """The marks of a value: `bits` has one number per lane, and broadcasts as the value does."""

    bits: NDArray[np.uint8]
    opened: Line | None = None
    wrapped: Line | None = None

    def among(self, lanes: NDArray[np.bool_]) -> "Marks | None":
        """Give what is left if only these lanes count, None if none of them is marked."""
        bits = np.broadcast_to(self.bits, lanes.shape)[lanes]
        if not bits.any():
            return None
        opened = self.opened if (bits & _OPEN).any() else None
        return Marks(bits, opened, self.wrapped if (bits & _WRAPPED).any() else None)


def marks_of(handle: Any) -> Marks | None:
    """Return the marks of a value of the interpreter, None if all of its lanes are sound."""
    return getattr(handle, _MARKS, None)


def mark_open(handle: Any, lanes: NDArray[np.bool_], line: Line) -> Any:
    """Mark the lanes that a masked load left open, if an address can be made of them."""
    if handle.dtype.is_int() or handle.dtype.is_ptr():
        setattr(handle, _MARKS, Marks(lanes.astype(np.uint8) * _OPEN, opened=line))
    return handle


def keep(result: Any, *operands: Any) -> Any:
    """Hand the marks of all operands on to what was made of them, lane by lane."""
    marks = [found for found in map(marks_of, operands) if found]
    if marks and not result.dtype.is_floating():
        bits = np.zeros(result.data.shape, np.uint8)
        for found in marks:
            bits = bits | found.bits
        setattr(result, _MARKS, _joined(bits, marks))
    return result


def keep_by_moving(result: Any, original: Any, args: tuple[Any, ...], moved: Sequence[Any]) -> Any:
    """Let the marks go the way of the lanes, through an operation that only moves lanes.

    Args:
        result: what the operation gave, or the several things it gave.
        original: the operation itself: done once more, with the marks in place of the values.
        args: its arguments.
        moved: those of them whose lanes it moves.
    """
    marks = [found for found in map(marks_of, moved) if found]
    if not marks:
        return result
    bits = original(*(_bits_of(arg) if any(arg is one for one in moved) else arg for arg in args))
    several = isinstance(result, tuple)
    for value, found in zip(result, bits, strict=True) if several else [(result, bits)]:
        setattr(value, _MARKS, _joined(found.data.astype(np.uint8), marks))
    return result


def keep_in_arithmetic(result: Any, lhs: Any, rhs: Any, operation: Any) -> Any:
    """Hand marks on through arithmetic, and mark the lanes that wrap around in it."""
    if operation not in _KEEPING or result.data.dtype.kind not in "iu":
        return result
    keep(result, lhs, rhs)
    # Unsigned integers wrap around on purpose: random numbers and hashes are made that way.
    if operation in _GROWING and result.data.dtype.kind == "i" and result.data.itemsize < 8:
        exact = operation(lhs.data.astype(np.int64), rhs.data.astype(np.int64))
        wrapped = exact != result.data
        if wrapped.any():
            _mark_wrapped(result, wrapped)
    return result


def _mark_wrapped(result: Any, lanes: NDArray[np.bool_]) -> None:
    before = marks_of(result) or Marks(np.zeros(lanes.shape, np.uint8))
    # What stands in an open lane is the watcher's own large number: that it wraps says nothing.
    lanes = lanes & (before.bits & _OPEN == 0)
    if lanes.any():
        line = before.wrapped or kernel_line()
        bits = before.bits | lanes.astype(np.uint8) * _WRAPPED
        setattr(result, _MARKS, Marks(bits.astype(np.uint8), before.opened, line))


def _joined(bits: NDArray[np.uint8], marks: list[Marks]) -> Marks:
    opened = next((found.opened for found in marks if found.opened), None)
    return Marks(bits, opened, next((found.wrapped for found in marks if found.wrapped), None))


def _bits_of(handle: Any) -> Any:
    marks = marks_of(handle)
    bits = np.zeros_like(handle.data) if marks is None else marks.bits.astype(handle.data.dtype)
    return replace(handle, data=np.broadcast_to(bits, handle.data.shape))
