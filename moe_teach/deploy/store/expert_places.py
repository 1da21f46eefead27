"""Where one expert lies on the disk, and how it comes from there in as few reads as possible."""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moe_teach.config import refuse
from moe_teach.deploy.store.tensor_places import Place, TensorFile, room_for, view_of
from moe_teach.types import ExpertWeights

MATRICES = ("w_up", "w_down", "w_gate")


@dataclass(frozen=True)
class Piece:
    """Neighbouring bytes of one file, and the matrices that lie in them."""

    file: TensorFile
    matrices: tuple[tuple[str, Place], ...]

    @property
    def begin(self) -> int:
        """The first byte."""
        return self.matrices[0][1].begin

    @property
    def n_bytes(self) -> int:
        """How many bytes there are."""
        return self.matrices[-1][1].end - self.begin


@dataclass(frozen=True)
class StoredExpert:
    """Where one expert lies: mostly one piece, as its matrices are neighbours in the file."""

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, places: Mapping[str, tuple[TensorFile, Place]]) -> "StoredExpert":
        """Gather the matrices, by the names of `ExpertWeights`, into as few reads as possible."""
        runs: list[tuple[TensorFile, list[tuple[str, Place]]]] = []
        ordered = sorted(places.items(), key=lambda m: (str(m[1][0].path), m[1][1].begin))
        for name, (file, place) in ordered:
            refuse(
                place.dtype is None,
                f"{place.name} is stored in a kind of number that no expert is computed in.",
            )
            if runs and runs[-1][0] is file and runs[-1][1][-1][1].end == place.begin:
                runs[-1][1].append((name, place))
            else:
                runs.append((file, [(name, place)]))
        return cls(tuple(Piece(file, tuple(run)) for file, run in runs))

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes in memory: whole blocks of the disk."""
        return sum(room_for(piece.begin, piece.n_bytes) for piece in self.pieces)

    def buffers(self, spare: Iterable[mmap.mmap] = ()) -> list[mmap.mmap]:
        """Return a buffer for each piece: a spare one of the right size, or a new one."""
        left, buffers = list(spare), []
        for piece in self.pieces:
            room = room_for(piece.begin, piece.n_bytes)
            fitting = next((buffer for buffer in left if len(buffer) == room), None)
            if fitting is not None:
                left.remove(fitting)
            buffers.append(mmap.mmap(-1, room) if fitting is None else fitting)
        return buffers

    def read(self, buffers: Sequence[mmap.mmap]) -> ExpertWeights:
        """Fill the buffers and look at the matrices in them, with an axis of one expert in front.

        Raises:
            UnreadableExperts: the buffers then hold nothing of use.
        """
        found = dict.fromkeys(MATRICES)
        for piece, buffer in zip(self.pieces, buffers, strict=True):
            start = piece.file.read(piece.begin, piece.n_bytes, buffer)
            for name, place in piece.matrices:
                found[name] = view_of(place, buffer, start + place.begin - piece.begin)[None]
        return ExpertWeights(**found)
