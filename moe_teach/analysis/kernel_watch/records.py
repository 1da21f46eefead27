"""What the watcher writes down: launches, accesses and races."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["load", "store", "atomic"]
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


@dataclass(frozen=True)
class Race:
    """One element that two programs of one launch touch in an order that a GPU leaves open.

    `programs` are ordinals (indices into `seen.programs`) and `kinds` what they do there.
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
