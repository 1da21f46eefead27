"""What a watched launch did: who read what, who wrote what, and what nobody wrote."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.races import races_within
from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import Access, Kind, Launch, ProgramId, Race
from moe_teach.config import refuse

_READS = ("load", "atomic")
_WRITES = ("store", "atomic")


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
        return self._bytes(_READS)

    @property
    def bytes_stored(self) -> dict[str, int]:
        """How many bytes were stored to each buffer, an element as often as it was stored."""
        return self._bytes(_WRITES)

    @property
    def unique_bytes_loaded(self) -> dict[str, int]:
        """How many bytes of each buffer were loaded at all, however often."""
        return self._unique_bytes(_READS)

    @property
    def unique_bytes_stored(self) -> dict[str, int]:
        """How many bytes of each buffer were stored at all, however often."""
        return self._unique_bytes(_WRITES)

    def owner(self, name: str) -> NDArray[np.int64]:
        """Give for each element the ordinal of the program that stored it last, -1 for nobody."""
        buffer = self._buffer(name)
        owner = np.full(buffer.count, -1)
        for access in self._of(name, _WRITES):
            owner[access.elements] = access.program
        return owner.reshape(buffer.shape)

    def readers(self, name: str) -> NDArray[np.int64]:
        """Give for each element how many programs read it."""
        buffer = self._buffer(name)
        return (self.touch_map(name, "load") > 0).sum(axis=0).reshape(buffer.shape)

    def unwritten(self, name: str) -> NDArray[np.int64]:
        """Give the flat indices of the elements that nobody stored."""
        return np.flatnonzero(self.owner(name).ravel() == -1)

    def races(self) -> list[Race]:
        """Find the elements over which programs of one launch race, in order of launch."""
        found: list[Race] = []
        for launch in self.launches:
            inside = [a for a in self.accesses if a.program in launch.programs]
            found += races_within(launch, inside, self.programs, self._buffers)
        return found

    def touch_map(self, name: str, kind: Kind | None = None) -> NDArray[np.int64]:
        """Count how often each program touched each element: (n_programs, n_elements).

        Args:
            name: the buffer.
            kind: "load" or "store" (both include atomics), "atomic", or None for every access.
        """
        counts = np.zeros((len(self.programs), self._buffer(name).count), dtype=np.int64)
        kinds = {None: ("load", "store", "atomic"), "load": _READS, "store": _WRITES}
        for access in self._of(name, kinds.get(kind, (kind,))):
            np.add.at(counts[access.program], access.elements, 1)
        return counts

    def bytes_per_program(self, kind: Kind, name: str | None = None) -> NDArray[np.int64]:
        """Give the bytes each program moved: (n_programs,).

        Args:
            kind: "load" or "store" (both include atomics), or "atomic".
            name: the buffer; None adds all of them up.
        """
        kinds = {"load": _READS, "store": _WRITES}.get(kind, (kind,))
        moved = np.zeros(len(self.programs), dtype=np.int64)
        for access in self.accesses:
            if access.kind in kinds and name in (None, access.buffer):
                moved[access.program] += access.n_bytes
        return moved

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

    def _of(self, name: str, kinds: tuple[str | None, ...]) -> Iterator[Access]:
        return (a for a in self.accesses if a.buffer == name and a.kind in kinds)

    def _bytes(self, kinds: tuple[str, ...]) -> dict[str, int]:
        total = dict.fromkeys(self._buffers, 0)
        for access in self.accesses:
            if access.kind in kinds:
                total[access.buffer] += access.n_bytes
        return total

    def _unique_bytes(self, kinds: tuple[str, ...]) -> dict[str, int]:
        total = {}
        for name, buffer in self._buffers.items():
            touched = np.zeros(buffer.count, dtype=bool)
            for access in self._of(name, kinds):
                touched[access.elements] = True
            total[name] = int(touched.sum()) * buffer.itemsize
        return total
