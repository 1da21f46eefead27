"""What an answer was given in one call, holds on to, and changes in a later one.

An object may keep the dictionary that it was made with and write into it when a method is called.
Whoever handed it over sees that, in one process; here the worker tells what has changed.
"""

from typing import Any

from torch import Tensor

_MANY = 64  # calls: looking at each costs a little with every message


class Remembered:
    """The calls of a stage whose arguments the answer holds, under the same number on both sides.

    The worker keeps what they were, the grader the question with its tensors.
    """

    def __init__(self) -> None:
        self._calls: dict[int, Any] = {}
        self._count = 0

    def begin(self) -> None:
        """Forget the calls of an earlier stage."""
        self._calls.clear()

    def keep(self, number: int, call: Any) -> None:
        """Remember a call, and forget the first of too many."""
        self._calls[number] = call
        if len(self._calls) > _MANY:
            del self._calls[next(iter(self._calls))]

    def note(self, before: Any) -> int | None:
        """Remember the arguments of a call that is over, if they are held; give its number."""
        if not before.is_kept():
            return None
        self._count += 1
        self.keep(self._count, before.renewed())
        return self._count

    def changes(self, writer: Any) -> list[Any]:
        """Write what has changed since it was told last."""
        found = []
        for number, before in self._calls.items():
            if not before.is_as_it_was():
                found.append([number, before.changes(writer)])
                self._calls[number] = before.renewed()
        return found

    def name_of(self, tensor: Tensor) -> list[Any] | None:
        """Give the name under which both sides know a tensor of an earlier call."""
        for number, before in self._calls.items():
            if (i := before.given.index(tensor)) is not None:
                return ["B", number, i]
        return None

    def call(self, number: Any) -> Any:
        """Find a question: its tensors, and its arguments."""
        return self._calls[number]
