"""How long the tensors live that a learner's code was given by functions of the check.

A check may count what is in memory at a time, by weak references to what it handed out. Apart, its
own tensors would die as soon as they are sent. So the grader holds them, and the worker says with
its next question which of their twins are gone.
"""

import gc
import weakref
from typing import Any

from torch import Tensor

_SMALL = 2**20  # bytes: no check counts larger ones, and nobody shall fill the grader's memory
_MANY = 512


class Held:
    """The grader's side: what it gave, and somebody still holds."""

    def __init__(self) -> None:
        self._tensors: dict[int, Tensor] = {}
        self._count = 0

    def give(self, tensors: list[Tensor]) -> None:
        """Hold tensors that are sent as a result; both sides number them in this order."""
        for tensor in tensors:
            if tensor.untyped_storage().nbytes() <= _SMALL and len(self._tensors) < _MANY:
                self._tensors[self._count] = tensor
            self._count += 1

    def drop(self, numbers: Any) -> None:
        """Let go of what nobody holds any more."""
        for number in numbers:
            self._tensors.pop(number, None)


class Taken:
    """The worker's side: the twins of these tensors, as long as the learner's code keeps them."""

    def __init__(self) -> None:
        self._twins: dict[int, Any] = {}
        self._count = 0

    def take(self, tensors: list[Tensor]) -> None:
        """Note what came as a result."""
        for tensor in tensors:
            self._twins[self._count] = weakref.ref(tensor)
            self._count += 1

    def gone(self) -> list[int]:
        """Give the numbers of those that are no more, once each."""
        if self._twins:
            gc.collect(0)  # what hangs in a cycle is gone as well
        found = [number for number, twin in self._twins.items() if twin() is None]
        for number in found:
            del self._twins[number]
        return found
