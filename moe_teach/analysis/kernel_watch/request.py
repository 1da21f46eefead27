"""One access that a program asks for, before anything is touched."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.buffer import Addresses, Buffer, Elements
from moe_teach.analysis.kernel_watch.marks import Marks
from moe_teach.analysis.kernel_watch.pointers import Origin
from moe_teach.analysis.kernel_watch.records import Door, Kind


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """What a `tl.load`, `tl.store` or atomic wants to do.

    Attributes:
        kind: what is done there.
        pointers: the address of each lane.
        mask: which lanes are active; None for all.
        masked: whether the kernel gave a mask, None if that cannot be known.
        width: how many bytes a lane reads or writes.
        door: how the kernel names the place.
        origin: where the pointers came from, None if that got lost.
        marks: which of the pointers were made of integers that cannot be trusted.
        values: what is stored, None for anything but a store.
    """

    kind: Kind
    pointers: NDArray[np.uint64]
    mask: NDArray[np.bool_] | None
    masked: bool | None
    width: int
    door: Door
    origin: Origin | None
    marks: Marks | None = None
    values: NDArray[Any] | None = None

    @cached_property
    def addresses(self) -> Addresses:
        """The addresses of the active lanes."""
        return self._active(self.pointers).astype(np.int64)

    @cached_property
    def stored(self) -> NDArray[Any] | None:
        """What the active lanes store."""
        return None if self.values is None else self._active(self.values)

    def marks_of(self, addresses: Addresses) -> Marks | None:
        """Give the marks of the active lanes that have one of these addresses."""
        if self.marks is None:
            return None
        lanes = np.isin(self.pointers.astype(np.int64), addresses)
        if self.mask is not None:
            lanes = lanes & self.mask
        return self.marks.among(lanes)

    def _active(self, lanes: NDArray[Any]) -> NDArray[Any]:
        every = np.broadcast_to(lanes, self.pointers.shape).ravel()
        if self.mask is None:
            return every
        return every[np.broadcast_to(self.mask, self.pointers.shape).ravel()]

    def locate(
        self, addresses: Addresses, buffer: Buffer
    ) -> tuple[Elements, NDArray[np.bool_] | None]:
        """Find the elements behind addresses, also where lanes are wider or narrower than they.

        Returns:
            One or several elements for each address, and which addresses lie inside the buffer;
            None if all do.
        """
        size = buffer.itemsize
        if self.width == size:
            return buffer.elements(addresses)
        if self.width < size:
            return buffer.elements(addresses - (addresses - buffer.base) % size)
        parts = addresses[:, None] + np.arange(0, self.width, size)
        elements, inside = buffer.elements(parts.ravel())
        return (
            elements.reshape(parts.shape),
            None if inside is None else inside.reshape(parts.shape).all(axis=1),
        )


def disputed(elements: Elements, stored: NDArray[Any]) -> Elements:
    """Give the elements that occur twice with different values, bit by bit."""
    if (elements[1:] > elements[:-1]).all():  # the usual case, and cheap to tell
        return elements[:0]
    bits = stored.view(f"u{stored.itemsize}")
    order = np.lexsort((bits, elements))
    same = np.diff(elements[order]) == 0
    return np.unique(elements[order][1:][same & (bits[order][1:] != bits[order][:-1])])
