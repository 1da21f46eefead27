"""The exception of a kernel that reaches past its tensors, and the sentence it speaks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Addresses, Buffer
from moe_teach.analysis.kernel_watch.records import Kind, ProgramId

Where = Literal["before", "past the end", "between", "inside an element", "unwatched"]
FAR = 2**30  # elements: so far off that an int32 offset may have wrapped around


class KernelFault(Exception):
    """A kernel reached for memory outside the watched tensors; nothing was read or written there.

    Attributes:
        program: the id (x, y, z) of the program that did it.
        buffer: the name of the tensor it missed, or None if it was near none.
        kind: "load", "store" or "atomic".
        where: "before", "past the end", "between" (the elements of a strided view),
            "inside an element", or "unwatched".
        elements: the elements it reached for, one per offending lane, counted in steps of one
            element of memory from the tensor's first (so -1 stands just before it).
        masked: whether a mask switched any lane off or could have.
        line: the line of the kernel that did it, where its source is known.
    """

    def __init__(self, sentence: str, stray: "Stray") -> None:
        super().__init__(sentence)
        self.program = stray.program
        self.buffer = stray.buffer.name if stray.buffer else None
        self.kind = stray.kind
        self.where = stray.where
        self.elements = stray.elements
        self.masked = stray.masked
        self.line = stray.line


@dataclass(frozen=True, eq=False)
class Stray:
    """All that is known about one access that missed; the sentence is made of it."""

    program: ProgramId
    program_name: str
    kind: Kind
    buffer: Buffer | None
    addresses: Addresses  # of the lanes that missed
    active: int  # lanes that the mask let through
    masked: bool
    argument: str | None  # the kernel's argument that the pointer came from
    neighbour: str | None  # another watched tensor that stands there
    line: str | None

    @property
    def offsets(self) -> Addresses:
        """How many bytes behind the tensor's first one each of the lanes points."""
        return self.addresses - self.buffer.base if self.buffer else self.addresses

    @property
    def elements(self) -> NDArray[np.int64]:
        """The same in elements of memory."""
        return self.offsets // (self.buffer.itemsize if self.buffer else 1)

    @property
    def where(self) -> Where:
        """On which side of the tensor the first offending lane lies."""
        if self.buffer is None:
            return "unwatched"
        first = int(self.offsets[0])
        if first < 0:
            return "before"
        if first >= self.buffer.span:
            return "past the end"
        return "inside an element" if first % self.buffer.itemsize else "between"
