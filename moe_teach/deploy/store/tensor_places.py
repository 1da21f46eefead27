"""Where the tensors of safetensors files lie, and reading some of their bytes past the page cache.

The format is a length of 8 bytes, a JSON header with the place of every tensor, and the bytes of
the tensors. `safetensors` maps such a file into memory, and what is read then stays in the page
cache until the system wants the room: outside of any budget of ours. Here bytes go straight from
the disk into a buffer of ours (O_DIRECT), where the file system can do that; elsewhere the system
is told after each read that the pages are not needed again.
"""

import errno
import hashlib
import json
import mmap
import os
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from moe_teach.config import refuse

BLOCK = 4096  # bytes: reads past the page cache begin and end at multiples of it
ALIGNMENT = 16  # bytes: tensors that begin so have the same products to the last bit
_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class UnreadableExperts(OSError):
    """The disk did not give what stood there when the file was opened."""


@dataclass(frozen=True)
class Place:
    """Where one tensor lies in its file: `begin` counts bytes from the start of the file.

    `dtype` is None for kinds of numbers in which no expert is computed.
    """

    name: str
    dtype: torch.dtype | None
    shape: tuple[int, ...]
    begin: int
    n_bytes: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.begin + self.n_bytes

    def rows(self, index: int, first: int, last: int) -> "Place":
        """Find neighbouring rows of one matrix of a stack of them; `last` is the one after."""
        n_matrices, n_rows, n_columns = self.shape
        row = self.n_bytes // (n_matrices * n_rows)
        begin = self.begin + (index * n_rows + first) * row
        shape = (last - first, n_columns)
        return replace(self, shape=shape, begin=begin, n_bytes=(last - first) * row)


class TensorFile:
    """An open safetensors file that knows when it is no longer the one that was opened.

    It is given back with `close`, or when nobody holds it any more, or when Python ends.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a whole safetensors file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        refuse(not hasattr(os, "preadv"), "Experts are read from a disk on Linux and macOS only.")
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no file {self.path}.")
        self._handle, self.is_direct = _opened(self.path)
        self._give_back = weakref.finalize(self, os.close, self._handle)
        try:
            self._digest, header, start = self._header()
            self.places = {name: self._place(name, said, start) for name, said in header.items()}
            state = os.fstat(self._handle)
        except BaseException:
            self.close()
            raise
        self._state = state.st_size, state.st_mtime_ns
        longest = max((place.end for place in self.places.values()), default=0)
        if longest > state.st_size:
            self.close()
            raise ValueError(
                f"{self.path} has {state.st_size:,} bytes, but its header speaks of {longest:,}: "
                "it was cut short. Bring back a good copy."
            )

    def read(self, begin: int, n_bytes: int, buffer: mmap.mmap) -> int:
        """Read bytes into a buffer, and return where in it the first of them stands.

        They stand at a multiple of `ALIGNMENT`: some processors add up a product of one row in
        another order where its numbers begin between two such places.

        Args:
            begin: the first byte that is wanted.
            n_bytes: how many are.
            buffer: at least `room_for(begin, n_bytes)` long; what it held is overwritten.

        Raises:
            UnreadableExperts: in a sentence; the buffer then holds nothing of use.
        """
        first = begin - begin % BLOCK
        self._demand_unchanged()
        try:
            self._fill(first, begin + n_bytes - first, buffer)
        except OSError as problem:
            if isinstance(problem, UnreadableExperts):
                raise
            raise UnreadableExperts(
                f"{self.path} could not be read at byte {begin:,}: {problem}. Look at the disk, "
                "or bring the file back from a copy."
            ) from problem
        self._demand_unchanged()
        start = begin - first
        aligned = start - start % ALIGNMENT
        if aligned != start:
            buffer.move(aligned, start, n_bytes)
        return aligned

    def close(self) -> None:
        """Give the file back; nothing can be read from here on."""
        self._give_back()
        self._handle = -1

    def _fill(self, first: int, n_bytes: int, buffer: mmap.mmap) -> None:
        done, whole = 0, -(-n_bytes // BLOCK) * BLOCK
        with memoryview(buffer) as view:
            while done < n_bytes:
                with view[done:whole] as rest:
                    got = os.preadv(self._handle, [rest], first + done)
                done += got
                if done < n_bytes:
                    done -= done % BLOCK
                    if got < BLOCK:  # the file ends here, or the disk gives less than a block
                        raise UnreadableExperts(
                            f"{self.path} gave {got:,} bytes at byte {first + done:,} where more "
                            "must stand: it was cut short, or the disk fails. Bring back a copy."
                        )
        if not self.is_direct and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._handle, first, whole, os.POSIX_FADV_DONTNEED)

    def _demand_unchanged(self) -> None:
        now = os.fstat(self._handle)
        if (now.st_size, now.st_mtime_ns) == self._state:
            return
        size = self._state[0]
        if now.st_size != size:
            what = f"had {size:,} bytes when it was opened and has {now.st_size:,} now"
        elif not self._has_same_header():
            what = "holds other tensors than when it was opened"
        else:
            what = "was written to since it was opened"
        raise UnreadableExperts(
            f"{self.path} {what}, so that old and new weights would be mixed. Open the model again."
        )

    def _has_same_header(self) -> bool:
        try:
            return self._header()[0] == self._digest
        except (OSError, ValueError):
            return False

    def _header(self) -> tuple[bytes, dict, int]:
        """Read the header: its digest, what it says, and where the tensors begin."""
        with self.path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            text = stream.read(length) if length < os.fstat(stream.fileno()).st_size else b""
        try:
            said = json.loads(text)
            said.pop("__metadata__", None)
        except (ValueError, AttributeError) as problem:
            raise ValueError(
                f"{self.path} is not a whole safetensors file: it was cut short or changed. "
                "Bring back a good copy."
            ) from problem
        return hashlib.sha256(text).digest(), said, 8 + length

    def _place(self, name: str, said: dict, start: int) -> Place:
        begin, end = said["data_offsets"]
        return Place(
            name, _DTYPES.get(said["dtype"]), tuple(said["shape"]), start + begin, end - begin
        )


def room_for(begin: int, n_bytes: int) -> int:
    """Bytes a buffer needs to read these: whole blocks, from the one with the first of them on."""
    return -(-(begin % BLOCK + n_bytes) // BLOCK) * BLOCK


def view_of(place: Place, buffer: mmap.mmap, start: int) -> Tensor:
    """Look at a tensor in a buffer that holds it from `start` on; nothing is copied."""
    count = place.n_bytes // place.dtype.itemsize
    return torch.frombuffer(buffer, dtype=place.dtype, count=count, offset=start).view(place.shape)


def _opened(path: Path) -> tuple[int, bool]:
    """Open a file past the page cache, if its file system can do that."""
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    if hasattr(os, "O_DIRECT"):
        try:
            return os.open(path, flags | os.O_DIRECT), True
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
    return os.open(path, flags), False
