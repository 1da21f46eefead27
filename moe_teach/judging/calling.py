"""Calls a learner's function for a check and notices what the check itself cannot see.

Parameters that differ from the stub's, a forgotten `return` and arguments changed in place would
all surface later as something else: as a wrong number, or as an example nobody can repeat.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer

_PLAIN = (bool, int, float, str, type(None))
FORGOTTEN = "Does every path end in a return statement?"


class Caller:
    """Stands in for the learner's function; classes have no single call to watch and stay bare.

    `inputs` holds the arguments of the latest call as they were before it.
    """

    def __init__(self, exercise: Exercise, answer: Any, reference: Callable[[], Any]) -> None:
        self.inputs: dict[str, Any] = {}
        self._exercise = exercise
        self._reference = reference
        self.answer = self._wrapped(answer) if inspect.isfunction(answer) else answer

    def _wrapped(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(answer)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = self._bound(answer, args, kwargs)
            self.inputs = {name: _copy(value) for name, value in given.items()}
            result = answer(*args, **kwargs)
            name = self._exercise.name
            if result is None:
                raise WrongAnswer(f"{name} returned None. {FORGOTTEN}")
            changed = [key for key in given if not _same(self.inputs[key], given[key])]
            if changed and not self._exercise.changes_inputs:
                raise WrongAnswer(
                    f"{name} changed its input `{changed[0]}` in place, and the caller still needs "
                    "it as it was. Make a new value (`a = a + b`, not `a += b` or `a[i] = b`), or "
                    "work on a copy.",
                    example=readable(self.inputs),
                )
            return result

        return call

    def _bound(self, answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        signature = inspect.signature(answer)
        try:
            return dict(signature.bind(*args, **kwargs).arguments)
        except TypeError as mismatch:
            asked = inspect.signature(self._reference() or answer)
            raise WrongAnswer(
                f"The check cannot call {self._exercise.name} as the stub was written: {mismatch}. "
                "Keep the stub's parameters, their names and their order.",
                expected=self._spelt(asked),
                got=self._spelt(signature),
            ) from None

    def _spelt(self, signature: inspect.Signature) -> Words:
        return Words(f"{self._exercise.name}({', '.join(signature.parameters)})")


def readable(inputs: dict[str, Any]) -> dict[str, Any]:
    """Keep the inputs that can be written down: no functions, modules or generators."""
    return {name: value for name, value in inputs.items() if _is_readable(value)}


def _is_readable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_readable(member) for member in value.values())
    if isinstance(value, list | tuple | set):
        return all(_is_readable(member) for member in value)
    return isinstance(value, _PLAIN) or is_tensor(value) or hasattr(value, "__dataclass_fields__")


def _copy(value: Any) -> Any:
    """Copy what can be changed in place without a method of its own; keep the rest itself."""
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(member) for key, member in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_copy(member) for member in value)
    return value


def _same(before: Any, now: Any) -> bool:
    if is_tensor(before):
        after = now.detach()
        if before.shape != after.shape:
            return False
        both_nan = (before != before) & (after != after)
        return bool(((before == after) | both_nan).all())
    if isinstance(before, dict):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in before)
    if type(before) in (list, tuple):
        return len(before) == len(now) and all(map(_same, before, now))
    return before is now or (isinstance(before, (*_PLAIN, set)) and before == now)
