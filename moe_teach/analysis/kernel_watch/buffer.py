"""One watched tensor as memory: which address is which element, and which is none."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

Addresses = NDArray[np.int64]
Elements = NDArray[np.int64]  # flat indices in row-major logical order


class Buffer:
    """A named tensor, as a kernel meets it: a first address, a shape and strides.

    An element is always named by its flat index in the row-major order of the tensor's *shape*,
    however its memory is laid out. Where an expanded tensor has several elements at one address,
    the first of them stands for all.
    """

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name = name
        self.tensor = tensor  # held, so that nobody else gets this memory while it is watched
        self.shape = tuple(tensor.shape)
        self.stride = tuple(tensor.stride())
        self.itemsize = tensor.element_size()
        self.count = tensor.numel()
        self.base = tensor.data_ptr()
        reach = sum(step * (size - 1) for step, size in zip(self.stride, self.shape, strict=True))
        self.span = (reach + 1) * self.itemsize if self.count else 0  # bytes, gaps included
        self.contiguous = tensor.is_contiguous()

    @property
    def layout(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Address, shape and strides: what makes a view the same as another."""
        return self.base, self.shape, self.stride

    @property
    def end(self) -> int:
        """The first address after the last element."""
        return self.base + self.span

    def elements(self, addresses: Addresses) -> tuple[Elements, NDArray[np.bool_] | None]:
        """Translate addresses to elements; the second value is None where all are elements.

        Otherwise it says which of them are, and the others' indices mean nothing.
        """
        offsets = addresses - self.base
        if self.contiguous and self.count and offsets.size:
            found = offsets // self.itemsize
            # Seen as unsigned, what lies before the tensor lies far behind it.
            if offsets.view(np.uint64).max() < self.span and not (offsets % self.itemsize).any():
                return found, None
        found, valid = self._search(offsets)
        return found, None if valid.all() else valid

    def _search(self, offsets: Addresses) -> tuple[Elements, NDArray[np.bool_]]:
        if self._overlaps:
            return self._look_up(offsets)
        found = np.zeros_like(offsets)
        rest = offsets  # what is left of it when the steps of all axes are taken off
        for step, size, logical in self._axes:
            index = np.clip(rest // step, 0, size - 1)
            found += index * logical
            rest = rest - index * step
        return found, (rest == 0) & (self.count > 0)

    def _look_up(self, offsets: Addresses) -> tuple[Elements, NDArray[np.bool_]]:
        known, first = self._table
        place = np.minimum(np.searchsorted(known, offsets), len(known) - 1)
        return first[place], known[place] == offsets

    def offsets(self, elements: Elements) -> Addresses:
        """How many bytes after the first element the given ones stand."""
        if self.contiguous:
            return elements * self.itemsize
        total = np.zeros_like(elements)
        for step, size, logical in self._axes:
            total += elements // logical % size * step
        return total

    @cached_property
    def _axes(self) -> list[tuple[int, int, int]]:
        """Step in bytes, size, and step in logical elements of each axis, widest step first."""
        logical = np.cumprod((1, *self.shape[:0:-1]))[::-1].tolist() if self.shape else []
        axes = [
            (step * self.itemsize, size, jump)
            for step, size, jump in zip(self.stride, self.shape, logical, strict=True)
            if size > 1 and step > 0
        ]
        return sorted(axes, reverse=True)

    @cached_property
    def _overlaps(self) -> bool:
        """Whether one address can be reached in two ways (a sliding window, for instance)."""
        reach = 0
        for step, size, _ in reversed(self._axes):
            if step <= reach:
                return True
            reach += step * (size - 1)
        return False

    @cached_property
    def _table(self) -> tuple[Addresses, Elements]:
        every = self.offsets(np.arange(self.count))
        return np.unique(every, return_index=True)

    def place(self, element: int) -> str:
        """Say in words where an element stands, if the shape has more than one dimension."""
        where = np.unravel_index(element, self.shape) if len(self.shape) > 1 else ()
        return in_words([int(index) for index in where])

    def coordinates(self, step: int) -> list[int] | None:
        """Continue the tensor's grid beyond its borders: the index of a place in memory.

        Args:
            step: how many elements of memory the place stands behind the first one.

        Returns:
            One index per dimension, out of range where the place is outside; None if no index
            reaches it.
        """
        where = [0] * len(self.shape)
        for axis in sorted(range(len(where)), key=lambda axis: -self.stride[axis]):
            if self.stride[axis]:
                where[axis], step = divmod(step, self.stride[axis])
        return None if step else where


def in_words(index: list[int]) -> str:
    """Write an index as people read it."""
    if len(index) == 2:
        return f"row {index[0]}, column {index[1]}"
    return f"index {index}" if index else ""
