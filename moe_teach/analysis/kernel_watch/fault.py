"""The exception of a kernel that reaches past its tensors, and all that is known about it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Addresses, Buffer
from moe_teach.analysis.kernel_watch.kernel_line import Line
from moe_teach.analysis.kernel_watch.records import Door, Kind, ProgramId
from moe_teach.analysis.kernel_watch.told import Told

Where = Literal["before", "past the end", "between", "inside an element", "unwatched"]
Cause = Literal[
    "no mask",
    "mask",
    "index",
    "negative index",
    "stride",
    "overflow",
    "open lane",
    "block pointer",
    "descriptor",
    "empty",
    "pointer type",
    "unwatched",
]
FAR = 2**30  # elements: so far off that an int32 offset will have wrapped around


class KernelFault(Exception):
    """A kernel reached for memory outside the watched tensors; nothing was read or written there.

    Attributes:
        told: the sentences, in three steps: symptom, likely cause, cure.
        kernel: the name of the kernel.
        program: the id (x, y, z) of the program that did it.
        buffer: the name of the tensor it missed; of the argument, if that is not watched; or None.
        kind: "load", "store", "atomic", "atomic load" or "atomic store".
        where: "before", "past the end", "between" (the elements of a strided view),
            "inside an element", or "unwatched".
        cause: the likely one, as a keyword of `Cause`.
        elements: the elements it reached for, one per offending lane, counted in elements of
            memory from the tensor's first (so -1 stands just before it).
        index_from: the tensor from whose values the index was computed; None if from none, or if
            that is not known.
        masked: whether the access had a mask; None where that cannot be known.
        line: the line of the kernel that did it, where its source is known.
    """

    def __init__(self, told: Told, stray: "Stray") -> None:
        super().__init__(str(told))
        self.told = told
        self.kernel = stray.kernel
        self.program = stray.program
        self.buffer = stray.buffer.name if stray.buffer else stray.argument
        self.kind = stray.kind
        self.where = stray.where
        self.cause = stray.cause
        self.elements = stray.steps
        self.index_from = stray.index_from
        self.masked = stray.masked
        self.line = stray.line.text


@dataclass(frozen=True, eq=False, kw_only=True)
class Stray:
    """All that is known about one access that missed; the sentence is made of it."""

    kernel: str
    program: ProgramId
    program_name: str
    kind: Kind
    buffer: Buffer | None  # the tensor that was meant, or the nearest
    addresses: Addresses  # of the lanes that missed
    lanes: int
    active: int  # lanes that the mask let through
    masked: bool | None
    argument: str | None  # the kernel's argument that the pointer came from
    index_from: str | None  # the tensor from which its index was loaded
    neighbour: str | None  # another watched tensor that stands there
    door: Door
    line: Line
    opened: Line | None  # where a mask without `other` left open what the address is made of
    wrapped: Line | None  # where an integer that the address is made of wrapped around

    @property
    def steps(self) -> NDArray[np.int64]:
        """How many elements of memory each stray lane stands behind the tensor's first one."""
        if self.buffer is None:
            return self.addresses
        return (self.addresses - self.buffer.base) // self.buffer.itemsize

    @property
    def where(self) -> Where:
        """On which side of the tensor the first stray lane lies."""
        if self.buffer is None:
            return "unwatched"
        offset = int(self.addresses[0]) - self.buffer.base
        if offset < 0:
            return "before"
        if offset >= self.buffer.span:
            return "past the end"
        return "inside an element" if offset % self.buffer.itemsize else "between"

    @property
    def cause(self) -> Cause:
        """The likely mistake."""
        if self.opened:
            return "open lane"
        if self.wrapped:
            return "overflow"
        if self.buffer is None:
            return "unwatched"
        if not self.buffer.count:
            return "empty"
        far = int(abs(self.steps).max())
        if far >= FAR:
            return "overflow"
        match self.where:
            case "inside an element":
                return "pointer type"
            case "between":
                return "stride"
            case "before":
                return "negative index"
        if self.door != "pointer":
            return self.door
        if self.lanes == 1:
            return "index"
        all_wrong = len(self.addresses) == self.active
        if all_wrong and int(self.steps[0]) >= 2 * self.buffer.span // self.buffer.itemsize:
            return "index"
        return "mask" if self.masked else "no mask"
