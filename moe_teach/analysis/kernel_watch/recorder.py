"""The gatekeeper of a watched launch: lets an access pass and notes it, or refuses it."""

import linecache
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Addresses, Buffer
from moe_teach.analysis.kernel_watch.fault import KernelFault, Stray
from moe_teach.analysis.kernel_watch.records import Access, Kind, Launch, ProgramId, program_name
from moe_teach.analysis.kernel_watch.wording import sentence_about

_OWN_FOLDER = str(Path(__file__).parent)


class Halt(BaseException):
    """Carries a `KernelFault` past the interpreter, which wraps every ordinary exception."""

    def __init__(self, fault: KernelFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Origin:
    """Where a pointer came from: the argument's name and the watched tensors it may reach."""

    def __init__(self, argument: str | None, buffers: list[Buffer]) -> None:
        self.argument = argument
        self.buffers = buffers


class Recorder:
    """Collects what the programs of all launches inside one `watch` do."""

    def __init__(self, buffers: list[Buffer], record: bool) -> None:
        self.buffers = buffers
        self.record = record
        self.programs: list[ProgramId] = []
        self.launches: list[Launch] = []
        self.accesses: list[Access] = []
        self._anywhere = Origin(None, _innermost_first(buffers))
        self._grid: ProgramId = (1, 1, 1)

    def begin_launch(self, kernel: str, grid: ProgramId) -> None:
        """Start a new phase: what earlier launches did is finished before this one starts."""
        start = len(self.programs)
        self._grid = grid
        self.launches.append(Launch(kernel, grid, range(start, start)))

    def begin_program(self, program: ProgramId) -> None:
        """Let what follows be the work of another program."""
        self.programs.append(program)
        last = self.launches[-1]
        self.launches[-1] = Launch(
            last.kernel, last.grid, range(last.programs.start, len(self.programs))
        )

    def origin_of(self, argument: str | None, tensor: Buffer) -> Origin:
        """Decide which watched tensors a pointer to `tensor` may reach.

        The one that is this very tensor (same memory, shape and strides); else the smallest one
        that covers it; else all that overlap with it.
        """
        layout = (tensor.base, tensor.shape, tensor.stride)
        for buffer in self.buffers:
            if (buffer.base, buffer.shape, buffer.stride) == layout:
                return Origin(argument, [buffer])
        near = [b for b in self.buffers if b.base < tensor.end and tensor.base < b.end]
        covering = [b for b in near if b.base <= tensor.base and tensor.end <= b.end]
        return Origin(argument, _innermost_first(covering)[:1] or _innermost_first(near))

    def touch(
        self,
        kind: Kind,
        pointers: NDArray[np.uint64],
        mask: NDArray[np.bool_] | None,
        width: int,
        origin: Origin | None,
    ) -> None:
        """Note one access of the running program, or refuse it before memory is touched.

        Args:
            kind: what is done there.
            pointers: the address of each lane.
            mask: which lanes are active; None where the kernel gave no mask.
            width: how many bytes a lane reads or writes.
            origin: where the pointers came from, None if that got lost.

        Raises:
            Halt: with the `KernelFault`, if an active lane misses.
        """
        addresses = pointers.astype(np.int64)
        if mask is not None:
            mask = np.broadcast_to(mask, addresses.shape)
            addresses = addresses[mask]
        else:
            addresses = addresses.ravel()
        if not addresses.size:
            return
        rest = addresses
        for buffer in (origin or self._anywhere).buffers:
            elements, valid = buffer.elements(_by_element(rest, buffer, width))
            if valid is None:
                self._note(kind, buffer, elements, pointers.size, rest.size * width)
                return
            if valid.any() and width == buffer.itemsize:
                found = elements[valid]
                self._note(kind, buffer, found, pointers.size, found.size * width)
                rest = rest[~valid]
        stray = self._stray(kind, rest, addresses.size, mask is not None, origin)
        raise Halt(KernelFault(sentence_about(stray), stray))

    def _note(self, kind: Kind, buffer: Buffer, elements: Any, lanes: int, n_bytes: int) -> None:
        if self.record:
            program = len(self.programs) - 1
            self.accesses.append(Access(program, buffer.name, kind, elements, lanes, n_bytes))

    def _stray(
        self, kind: Kind, addresses: Addresses, active: int, masked: bool, origin: Origin | None
    ) -> Stray:
        candidates = (origin or self._anywhere).buffers
        nearest = min(candidates, key=lambda b: _distance(b, int(addresses[0])), default=None)
        first = addresses[:1]
        others = [b.name for b in self.buffers if b is not nearest and b.elements(first)[1] is None]
        return Stray(
            program=self.programs[-1],
            program_name=program_name(self.programs[-1], self._grid),
            kind=kind,
            buffer=nearest,
            addresses=addresses,
            active=active,
            masked=masked,
            argument=origin.argument if origin else None,
            neighbour=others[0] if others else None,
            line=_line_of_kernel(),
        )


def _innermost_first(buffers: Iterable[Buffer]) -> list[Buffer]:
    return sorted(buffers, key=lambda buffer: buffer.span)


def _by_element(addresses: Addresses, buffer: Buffer, width: int) -> Addresses:
    """Turn accesses of another width than the tensor's elements into accesses of elements."""
    size = buffer.itemsize
    if width == size:
        return addresses
    if width < size:
        return addresses - (addresses - buffer.base) % size
    return (addresses[:, None] + np.arange(0, width, size)).ravel()


def _distance(buffer: Buffer, address: int) -> int:
    return max(buffer.base - address, address - buffer.end + 1, 0)


def _line_of_kernel() -> str | None:
    """Find the innermost line on the stack that belongs neither to Triton nor to the watcher."""
    frame = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if not file.startswith(_OWN_FOLDER) and package != "triton":
            return linecache.getline(file, frame.f_lineno).strip() or None
        frame = frame.f_back
    return None
