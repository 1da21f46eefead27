"""What the watcher writes down: launches, accesses, races, and what a GPU may do otherwise."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.kernel_line import Line
from moe_teach.analysis.kernel_watch.told import Telling, Told, joined

# "atomic" both reads and writes (add, max, exchange ...); Triton 3.9 knows the other two.
Kind = Literal["load", "store", "atomic", "atomic load", "atomic store"]
# What a kernel gave: pointers of its own making, or a thing that makes them.
Door = Literal["pointer", "block pointer", "descriptor"]
READS = ("load", "atomic", "atomic load")
WRITES = ("store", "atomic", "atomic store")
ProgramId = tuple[int, int, int]


@dataclass(frozen=True)
class Launch:
    """One `kernel[grid](...)`: its programs are those with the ordinals `programs`."""

    kernel: str
    grid: ProgramId
    programs: range


@dataclass(frozen=True, eq=False, slots=True)
class Access:
    """What one `tl.load`, `tl.store` or atomic of one program touched in one buffer.

    `program` counts the programs in the order in which they ran (an index into `seen.programs`).
    `elements` are flat indices in the row-major order of the buffer's shape, one per active lane,
    in the order of the lanes. `lanes` counts all lanes, also those that the mask switched off.
    """

    program: int
    buffer: str
    kind: Kind
    elements: NDArray[np.int64]
    lanes: int
    n_bytes: int


@dataclass(frozen=True, eq=False, slots=True)
class Collision:
    """Elements to which several lanes of one `tl.store` wrote different values."""

    program: int
    buffer: str
    elements: NDArray[np.int64]


@dataclass(frozen=True)
class Race(Telling):
    """One element whose value depends on an order that a GPU leaves open.

    `programs` are the ordinals of those involved (indices into `seen.programs`) and `kinds` what
    they do there. A single program means that two lanes of one `tl.store` disagree.
    """

    buffer: str
    element: int
    programs: tuple[int, ...]
    kinds: tuple[Kind, ...]
    told: Told

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class OpenLoad(Telling):
    """A `tl.load` whose mask switched lanes off and that gave no `other`, told once a line.

    Triton leaves open what such a lane holds. `program` is the first that did it, and `buffer` the
    tensor it loaded from, None where that is not certain.
    """

    program: int
    line: Line
    buffer: str | None

    @property
    def told(self) -> Told:
        """Say what was left open."""
        source = f"A load from {self.buffer}" if self.buffer else "A load"
        return Told(
            joined(f"{source} switches lanes off and does not say what they hold then.", self.line),
            "Triton leaves that open.",
            "Pass other=..., or do not use those lanes.",
        )


@dataclass(frozen=True)
class Wrap(Telling):
    """An address made of an integer that had left the range of its type, told once a line.

    `line` is where it happened, `program` the first that made an address of it, and `buffer` the
    tensor that it was added to, None where that is not certain.
    """

    program: int
    line: Line
    buffer: str | None

    @property
    def told(self) -> Told:
        """Say what wrapped around, and the cure."""
        whose = f"into {self.buffer} " if self.buffer else ""
        return Told(
            joined(f"An offset {whose}wrapped around.", self.line),
            "It is too large for its integer type.",
            WIDEN,
        )


@dataclass(frozen=True)
class NarrowDot(Telling):
    """A `tl.dot` that a GPU computes with less than full float32 precision, told once a line.

    Attributes:
        program: the first that did it.
        line: where it stands.
        cut_to: what float32 tiles are cut to before they are multiplied, "tf32" by default; None
            if nothing is cut.
        sums: the dtype that the products are added up in, as Triton names it.
    """

    program: int
    line: Line
    cut_to: str | None
    sums: str

    @property
    def told(self) -> Told:
        """Say what is lost, and the cure."""
        if self.cut_to is None:
            return Told(
                joined(f"A tl.dot adds its products up in {self.sums}.", self.line),
                "So short a float rounds after every addition, and soon has no larger numbers.",
                "Sum in float32, and round once, when you store.",
            )
        return Told(
            joined(
                f"A tl.dot of float32 tiles lets a GPU cut them to {self.cut_to} first.", self.line
            ),
            "The fast units of a GPU multiply short numbers only.",
            'Write input_precision="ieee" to keep every bit.',
        )


Note = OpenLoad | Wrap | NarrowDot
WIDEN = "Make it int64 before you multiply, as in row.to(tl.int64) * stride."


def program_name(program: ProgramId, grid: ProgramId) -> str:
    """Name a program with as many numbers as its grid has dimensions."""
    axes = max((axis + 1 for axis in range(3) if grid[axis] > 1), default=1)
    return str(program[0]) if axes == 1 else str(program[:axes])
