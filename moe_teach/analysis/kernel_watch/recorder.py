"""The gatekeeper of a watched launch: lets an access pass and notes it, or refuses it."""

import dataclasses
from typing import Any

from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Addresses, Buffer, Elements
from moe_teach.analysis.kernel_watch.fault import KernelFault, Stray
from moe_teach.analysis.kernel_watch.kernel_line import Line, kernel_line
from moe_teach.analysis.kernel_watch.pointers import Origin, innermost_first, reach
from moe_teach.analysis.kernel_watch.records import (
    Access,
    Collision,
    Launch,
    Note,
    ProgramId,
    program_name,
)
from moe_teach.analysis.kernel_watch.request import Request, disputed
from moe_teach.analysis.kernel_watch.wording import told_about

_Found = tuple[Buffer, Elements, int, NDArray[Any] | None]  # ..., active lanes, what they store


class Halt(BaseException):
    """Carries a `KernelFault` past the interpreter, which wraps every ordinary exception."""

    def __init__(self, fault: KernelFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Recorder:
    """Collects what the programs of all launches inside one `watch` do.

    Args:
        buffers: the watched tensors.
        record: whether accesses are kept.
        adopt: whether tensors of a launch that overlap no watched one are watched as well.
        poison: whether lanes that a masked load leaves open hold something that shows.
    """

    def __init__(
        self,
        buffers: list[Buffer],
        record: bool = True,
        adopt: bool = False,
        poison: bool = True,
    ) -> None:
        self.buffers = buffers
        self.record = record
        self.poison = poison
        self.programs: list[ProgramId] = []
        self.launches: list[Launch] = []
        self.accesses: list[Access] = []
        self.collisions: list[Collision] = []
        self.notes: list[Note] = []
        self._noted: set[tuple[int, type, Line]] = set()
        self.adopt = adopt
        self._kernel = ""
        self._argument_names: dict[Any, str] = {}

    def enter(self, kernel: str, argument_names: dict[Any, str]) -> None:
        """Hear which kernel is about to be launched, and how it calls its arguments."""
        self._kernel, self._argument_names = kernel, argument_names

    def begin_launch(self, grid: ProgramId) -> None:
        """Start a new phase: what earlier launches did is finished before this one starts."""
        start = len(self.programs)
        self.launches.append(Launch(self._kernel, grid, range(start, start)))

    def begin_program(self, program: ProgramId) -> None:
        """Let what follows be the work of another program."""
        self.programs.append(program)
        launch = self.launches[-1]
        grown = range(launch.programs.start, len(self.programs))
        self.launches[-1] = Launch(launch.kernel, launch.grid, grown)

    def origin(self, tensor: Any) -> Origin:
        """Decide which watched tensors the pointers made from this argument may reach."""
        given = Buffer("argument", tensor)
        argument = self._argument_names.get(given.layout)
        buffers = reach(self.buffers, given)
        if not buffers and self.adopt and argument:
            buffers = [Buffer(self._new_name(argument), tensor)]
            self.buffers.append(buffers[0])
        return Origin(argument, buffers)

    def anywhere(self) -> Origin:
        """Return the origin of a pointer of which nothing is known: any watched tensor."""
        return Origin(None, innermost_first(self.buffers))

    def _new_name(self, wish: str) -> str:
        taken = {buffer.name for buffer in self.buffers}
        names = (wish if turn == 1 else f"{wish}#{turn}" for turn in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def note(self, note: Note) -> None:
        """Note something that this interpreter hides, once for each line and launch."""
        key = len(self.launches), type(note), note.line
        if key not in self._noted:
            self._noted.add(key)
            self.notes.append(note)

    def touch(self, request: Request) -> None:
        """Note one access of the running program, or refuse it before memory is touched.

        Raises:
            Halt: with the `KernelFault`, if an active lane misses.
        """
        rest, stored = request.addresses, request.stored if self.record else None
        if not rest.size:
            return None
        found: list[_Found] = []
        origin = request.origin or self.anywhere()
        for buffer in origin.buffers:
            elements, inside = request.locate(rest, buffer)
            if inside is None:
                found.append((buffer, elements.ravel(), rest.size, stored))
                return self._note(request, found)
            if inside.any():
                part = None if stored is None else stored[inside]
                found.append((buffer, elements[inside].ravel(), int(inside.sum()), part))
            rest, stored = rest[~inside], None if stored is None else stored[~inside]
        raise Halt(self._fault(request, origin, rest))

    def _note(self, request: Request, found: list[_Found]) -> None:
        if not self.record:
            return
        program, lanes = len(self.programs) - 1, request.pointers.size
        for buffer, elements, active, stored in found:
            n_bytes = active * request.width
            self.accesses.append(
                Access(program, buffer.name, request.kind, elements, lanes, n_bytes)
            )
            if stored is not None and stored.size == elements.size:
                several = disputed(elements, stored)
                if several.size:
                    self.collisions.append(Collision(program, buffer.name, several))

    def _fault(self, request: Request, origin: Origin, stray: Addresses) -> KernelFault:
        first = stray[:1]
        nearest = _nearest(origin, int(first[0]))
        others = (b for b in self.buffers if b is not nearest and b.count)
        neighbours = [b.name for b in others if b.elements(first)[1] is None]
        program, launch = self.programs[-1], self.launches[-1]
        line = kernel_line()
        marks = request.marks_of(stray)
        known = Stray(
            kernel=launch.kernel,
            program=program,
            program_name=program_name(program, launch.grid),
            kind=request.kind,
            buffer=nearest,
            addresses=stray,
            lanes=request.pointers.size,
            active=request.addresses.size,
            masked=request.masked,
            argument=origin.argument,
            index_from=origin.index_from,
            neighbour=neighbours[0] if neighbours else None,
            door=request.door,
            line=line,
            opened=marks.opened if marks else None,
            wrapped=marks.wrapped if marks else None,
        )
        return KernelFault(told_about(known), known)

    def part(self, index: int) -> "Recorder":
        """Return the record of one launch alone, with programs counted from 0."""
        launch = self.launches[index]
        start = launch.programs.start
        part = Recorder(self.buffers, self.record)
        part.programs = [self.programs[program] for program in launch.programs]
        part.launches = [Launch(launch.kernel, launch.grid, range(len(launch.programs)))]
        part.accesses = _counted_from(start, launch, self.accesses)
        part.collisions = _counted_from(start, launch, self.collisions)
        part.notes = _counted_from(start, launch, self.notes)
        return part


def _counted_from(start: int, launch: Launch, entries: list[Any]) -> list[Any]:
    inside = [entry for entry in entries if entry.program in launch.programs]
    if not start:  # a record has thousands of accesses, and most have one launch
        return inside
    return [dataclasses.replace(entry, program=entry.program - start) for entry in inside]


def _nearest(origin: Origin, address: int) -> Buffer | None:
    """Guess which of several tensors was meant; of a pointer from nowhere, only if it is close."""

    def distance(buffer: Buffer) -> int:
        return max(buffer.base - address, address - buffer.end + 1, 0)

    nearest = min(origin.buffers, key=distance, default=None)
    if nearest and origin.argument is None and distance(nearest) > nearest.span:
        return None
    return nearest
