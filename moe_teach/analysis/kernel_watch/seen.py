"""What a watched launch did: who read what, who wrote what, and what nobody wrote."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.races import races_of
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import (
    READS,
    WRITES,
    Access,
    Kind,
    Launch,
    NarrowDot,
    OpenLoad,
    ProgramId,
    Race,
    Wrap,
)
from moe_teach.config import refuse

Kinds = tuple[Kind, ...]


class Seen:
    """The record of all launches inside one `watch`.

    A program is named by its ordinal: the place at which it ran, counted over all launches, and
    `programs[ordinal]` is its id (x, y, z). An element is named by its flat index in the row-major
    order of the tensor's shape. An atomic update counts as a load and as a store.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    def programs(self) -> list[ProgramId]:
        """The ids of the programs in the order in which they ran."""
        return self._recorder.programs

    @property
    def launches(self) -> list[Launch]:
        """One entry for each launch: kernel, grid and the ordinals of its programs."""
        return self._recorder.launches

    def launch(self, index: int) -> "Seen":
        """Return what one launch did, with its programs counted from 0; -1 is the latest."""
        n = len(self.launches)
        refuse(not -n <= index < n, f"There is no launch {index}: {n} were watched.")
        return Seen(self._recorder.part(index))

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the watched tensors."""
        return tuple(self._buffers)

    @property
    def accesses(self) -> list[Access]:
        """Every load, store and atomic in the order in which they happened."""
        refuse(
            not self._recorder.record,
            "Nothing was recorded: this watch was opened with record=False, which only guards.",
        )
        return self._recorder.accesses

    @property
    def bytes_loaded(self) -> dict[str, int]:
        """How many bytes were loaded from each buffer, an element as often as it was loaded."""
        return self._bytes(READS)

    @property
    def bytes_stored(self) -> dict[str, int]:
        """How many bytes were stored to each buffer, an element as often as it was stored."""
        return self._bytes(WRITES)

    @property
    def unique_bytes_loaded(self) -> dict[str, int]:
        """How many bytes of each buffer were loaded at all, however often."""
        return self._unique_bytes(READS)

    @property
    def unique_bytes_stored(self) -> dict[str, int]:
        """How many bytes of each buffer were stored at all, however often."""
        return self._unique_bytes(WRITES)

    def owner(self, name: str) -> NDArray[np.int64]:
        """Give for each element the ordinal of the program that stored it last, -1 for nobody."""
        buffer = self._buffer(name)
        owner = np.full(buffer.count, -1)
        for access in self._of(name, WRITES):
            owner[access.elements] = access.program
        return owner.reshape(buffer.shape)

    def readers(self, name: str) -> NDArray[np.int64]:
        """Give for each element how many programs read it."""
        buffer = self._buffer(name)
        readers = np.zeros(buffer.count, dtype=np.int64)
        for _, accesses in groupby(self._of(name, READS), key=lambda access: access.program):
            readers[np.concatenate([a.elements for a in accesses])] += 1  # once per program
        return readers.reshape(buffer.shape)

    def unwritten(self, name: str) -> NDArray[np.int64]:
        """Give the flat indices of the elements that nobody stored."""
        return np.flatnonzero(self.owner(name).ravel() == -1)

    def races(self) -> list[Race]:
        """Find what a GPU would leave to chance, launch by launch (see `Race`)."""
        self.accesses  # noqa: B018  (says so if nothing was recorded)
        found: list[Race] = []
        for index, launch in enumerate(self.launches):
            start = launch.programs.start
            for race in races_of(self._recorder.part(index)):
                shifted = tuple(start + program for program in race.programs)
                found.append(replace(race, programs=shifted))
        return found

    @property
    def open_loads(self) -> list[OpenLoad]:
        """The loads that switched lanes off and left open what these hold then."""
        return [note for note in self._recorder.notes if isinstance(note, OpenLoad)]

    @property
    def wrapped(self) -> list[Wrap]:
        """The integers that had wrapped around when an address was made of them.

        Only lanes count that were switched on; launch with tensors made by `vast` to get there.
        """
        return [note for note in self._recorder.notes if isinstance(note, Wrap)]

    @property
    def narrow_dots(self) -> list[NarrowDot]:
        """The products that a GPU computes with less than full float32 precision."""
        return [note for note in self._recorder.notes if isinstance(note, NarrowDot)]

    def touch_map(self, name: str, kind: Kind | None = None) -> NDArray[np.int64]:
        """Count how often each program touched each element: (n_programs, n_elements).

        Args:
            name: the buffer.
            kind: "load" or "store" (atomics are both), or None for every access.
        """
        counts = np.zeros((len(self.programs), self._buffer(name).count), dtype=np.int64)
        for access in self._of(name, _kinds(kind)):
            np.add.at(counts[access.program], access.elements, 1)
        return counts

    def bytes_per_program(
        self, kind: Kind | None = None, name: str | None = None
    ) -> NDArray[np.int64]:
        """Give the bytes that each program moved: (n_programs,).

        Args:
            kind: "load" or "store" (atomics are both); None adds loads and stores.
            name: the buffer; None adds all of them.
        """
        moved = np.zeros(len(self.programs), dtype=np.int64)
        for access in self.accesses if name is None else self._of(name, _kinds(None)):
            both = kind is None and access.kind == "atomic"  # reads and writes
            if access.kind in _kinds(kind):
                moved[access.program] += access.n_bytes * (1 + both)
        return moved

    def __str__(self) -> str:
        """Write one line per launch and a table of the bytes."""
        sizes = [(run.kernel, len(run.programs)) for run in self.launches]
        lines = [f"{n} program{'s' * (n != 1)} of {kernel}" for kernel, n in sizes]
        if not self._recorder.record:
            return "\n".join(lines)
        columns = (
            self.bytes_loaded,
            self.unique_bytes_loaded,
            self.bytes_stored,
            self.unique_bytes_stored,
        )
        titles = ("loaded", "(unique)", "stored", "(unique)")
        lines.append(f"{'bytes':<14}" + "".join(f"{title:>15}" for title in titles))
        for name in self.buffers:
            lines.append(f"{name:<14}" + "".join(f"{column[name]:>15,}" for column in columns))
        return "\n".join(lines)

    @property
    def _buffers(self) -> dict[str, Buffer]:
        return {buffer.name: buffer for buffer in self._recorder.buffers}

    def _buffer(self, name: str) -> Buffer:
        known = self._buffers
        refuse(
            name not in known,
            f"No tensor is watched under the name {name}; these are: {', '.join(known)}.",
        )
        return known[name]

    def _of(self, name: str, kinds: Kinds) -> Iterator[Access]:
        self._buffer(name)
        return (a for a in self.accesses if a.buffer == name and a.kind in kinds)

    def _bytes(self, kinds: Kinds) -> dict[str, int]:
        total = dict.fromkeys(self._buffers, 0)
        for access in self.accesses:
            if access.kind in kinds:
                total[access.buffer] += access.n_bytes
        return total

    def _unique_bytes(self, kinds: Kinds) -> dict[str, int]:
        touched = {name: np.zeros(b.count, dtype=bool) for name, b in self._buffers.items()}
        for access in self.accesses:
            if access.kind in kinds:
                touched[access.buffer][access.elements] = True
        return {n: int(t.sum()) * self._buffers[n].itemsize for n, t in touched.items()}


def _kinds(kind: Kind | None) -> Kinds:
    return {"load": READS, "store": WRITES, None: tuple(dict.fromkeys(READS + WRITES))}[kind]
