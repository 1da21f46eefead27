"""safetensors files, written and read one tensor at a time: no second copy of a model is made.

The format is a length, a JSON header with the place of every tensor, and their bytes. The
library's own writer wants all tensors at once, as they shall stand in the file; here each is made
when its turn comes: a slice, another order of rows, another dtype.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import safetensors
import torch
from torch import Tensor

from moe_teach.files import replacing

_CHUNK = 1 << 22  # bytes, of what is hashed at a time
# The names that the format has for dtypes.
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that is to be written: its name, what it will be like, and how it is made."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> "Entry":
        """Describe a tensor that is there."""
        return cls(name, tuple(tensor.shape), tensor.dtype, lambda: tensor)

    @property
    def n_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write(path: Path, entries: Iterable[Entry], metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file, atomically, and return its SHA-256.

    Args:
        path: where it shall stand.
        entries: of any order; at any time only one of their tensors is made.
        metadata: what the header says besides; other programs look for `format: pt`.
    """
    # Wide numbers first, so that each tensor begins at a multiple of its own width.
    ordered = sorted(entries, key=lambda entry: (-entry.dtype.itemsize, entry.name))
    digest = hashlib.sha256()
    with replacing(path) as temporary, temporary.open("wb") as stream:
        for piece in _pieces(ordered, metadata):
            digest.update(piece)
            stream.write(piece)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in _chunks(stream):
            digest.update(piece)
    return digest.hexdigest()


class Reader:
    """The tensors of one open file; each is read when it is asked for."""

    def __init__(self, inner: safetensors.safe_open) -> None:
        self._inner = inner
        self.names = tuple(inner.keys())
        self.metadata: dict[str, str] = inner.metadata() or {}  # what the header says besides

    def read(self, name: str) -> Tensor:
        """Return a tensor on the CPU. It may be a window on the file: copy it, to keep it."""
        try:
            return self._inner.get_tensor(name)
        except safetensors.SafetensorError as problem:
            raise ValueError(f"{name} cannot be read: {problem}.") from problem

    def read_rows(self, name: str, index: int, begin: int, end: int) -> Tensor:
        """Return rows of one matrix of a stack of them, and read no others."""
        return self._inner.get_slice(name)[index, begin:end]

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        return tuple(self._inner.get_slice(name).get_shape())

    def dtype_of(self, name: str) -> torch.dtype | None:
        """Return the dtype of a tensor without reading it; None for an unusual one."""
        return DTYPES.get(self._inner.get_slice(name).get_dtype())


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a whole safetensors file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        inner = safetensors.safe_open(str(path), "pt")
    except safetensors.SafetensorError as problem:
        raise ValueError(
            f"{path} is not a whole safetensors file ({problem}): it was cut short or changed. "
            "Bring back a good copy."
        ) from problem
    with inner as opened:
        yield Reader(opened)


def _pieces(
    entries: list[Entry], metadata: Mapping[str, str] | None
) -> Iterator[bytes | memoryview]:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for entry in entries:
        begin, end = end, end + entry.n_bytes
        header[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for entry in entries:
        yield from _bytes_of(entry)


def _bytes_of(entry: Entry) -> Iterator[memoryview]:
    tensor = entry.make().detach().to("cpu", entry.dtype).contiguous()
    if tuple(tensor.shape) != entry.shape:
        raise ValueError(f"{entry.name} was announced as {entry.shape}, but is {tensor.shape}.")
    if tensor.numel():
        yield memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(_CHUNK), b"")
