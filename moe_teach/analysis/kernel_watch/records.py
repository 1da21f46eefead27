"""What the watcher writes down: launches, accesses and races."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
class Race:
    """One element whose value depends on an order that a GPU leaves open.

    `programs` are the ordinals of those involved (indices into `seen.programs`) and `kinds` what
    they do there. A single program means that two lanes of one `tl.store` disagree.
    """

    buffer: str
    element: int
    programs: tuple[int, ...]
    kinds: tuple[Kind, ...]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def program_name(program: ProgramId, grid: ProgramId) -> str:
    """Name a program with as many numbers as its grid has dimensions."""
    axes = max((axis + 1 for axis in range(3) if grid[axis] > 1), default=1)
    return str(program[0]) if axes == 1 else str(program[:axes])
