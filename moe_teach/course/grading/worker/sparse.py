"""Memory of which only the addresses count: the few pages of it that anybody touched.

A check launches kernels on tensors far larger than the machine (`kernel_watch.vast`). What travels
is their size and the pages that hold numbers. The way back needs no pages: the watcher knows which
elements were stored.
"""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moe_teach.course.grading.worker.wire import MAX_BYTES, Nonsense

VAST = 2**28  # bytes, from which on memory is taken for vast
_MAP = Path("/proc/self/pagemap")  # 64 bits for each page of this process
_TOUCHED = np.uint64(3 << 62)  # in memory, or swapped out
_ENTRY = 8
_AT_A_TIME = 2**20  # pages


class NotTold(Nonsense):
    """The system does not say which pages were touched."""


def can_be_read() -> bool:
    """Tell whether this system says which pages were touched, as Linux does."""
    return os.access(_MAP, os.R_OK)


def is_vast(storage: Any) -> bool:
    """Tell whether a storage is too large to be sent as it is."""
    return bool(storage.nbytes() > VAST)


def touched(storage: Any) -> list[tuple[int, bytes]]:
    """Give the pages of a storage that were ever touched: where each run begins, and its bytes.

    Raises:
        Nonsense: if that is more than a message may hold.
        NotTold: if the system does not say which pages those are; Linux does, outside of walls.
    """
    size, start = mmap.PAGESIZE, storage.data_ptr()
    if start % size:
        raise Nonsense("vast memory that begins inside a page")
    try:
        pages = _touched_pages(start // size, -(-storage.nbytes() // size))
    except OSError as error:
        raise NotTold(f"{storage.nbytes() / 1e6:,.0f} MB of memory") from error
    breaks = np.flatnonzero(np.diff(pages) > 1) + 1
    runs = [(int(run[0]) * size, len(run) * size) for run in np.split(pages, breaks) if len(run)]
    if sum(length for _, length in runs) > MAX_BYTES:
        raise Nonsense(f"{sum(length for _, length in runs) / 1e6:,.0f} MB of vast memory")
    return [
        (at, ctypes.string_at(start + at, min(length, storage.nbytes() - at)))
        for at, length in runs
    ]


def _touched_pages(first: int, count: int) -> Any:
    found = []
    with _MAP.open("rb", buffering=0) as table:
        for begin in range(0, count, _AT_A_TIME):
            table.seek((first + begin) * _ENTRY)
            asked = min(_AT_A_TIME, count - begin)
            entries = np.frombuffer(table.read(asked * _ENTRY), dtype=np.uint64)
            found.append(np.flatnonzero(entries & _TOUCHED) + begin)
    return np.concatenate(found)


def filled(n_bytes: int, runs: list[tuple[int, bytearray]]) -> Any:
    """Make vast memory with these bytes in it; the rest is zero."""
    from moe_teach.analysis.kernel_watch import vast

    whole = vast((n_bytes,), dtype=torch.uint8)
    for at, content in runs:
        whole[at : at + len(content)] = torch.frombuffer(content, dtype=torch.uint8)
    return whole.untyped_storage()


def stored(recorder: Any, known: set[str]) -> list[list[Any]]:
    """Give what a kernel stored in vast tensors: their name, the elements, and what they hold."""
    found = []
    for buffer in recorder.buffers:
        if buffer.name not in known or not is_vast(buffer.tensor.untyped_storage()):
            continue
        writes = [
            access.elements
            for access in recorder.accesses
            if access.buffer == buffer.name and access.kind != "load"
        ]
        if writes:
            elements = np.unique(np.concatenate(writes)).astype(np.int64)
            found.append([buffer.name, elements, buffer.tensor[_at(buffer.tensor, elements)]])
    return found


def store(recorder: Any, told: Any) -> None:
    """Store here, in the watched tensors of these names, what was stored elsewhere."""
    tensors = {buffer.name: buffer.tensor for buffer in recorder.buffers}
    for name, elements, values in told:
        tensors[name][_at(tensors[name], elements)] = values


def _at(tensor: Tensor, elements: Any) -> tuple[Tensor, ...]:
    return torch.unravel_index(torch.as_tensor(elements, dtype=torch.int64), tensor.shape)
