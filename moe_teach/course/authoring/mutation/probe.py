"""Finds out what a place in a solution holds while its check runs.

A change that cuts a gradient off is no fault where no gradient could ever pass; this looks whether
one does, by calling the solution once more with inputs that ask for it.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Probe:
    """Stands at one place of a solution: as a call around an expression, or above a function.

    `kinds` collects what was seen there: "floats", "integers" (both in tensors), "gradients".
    """

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self._values: list[Tensor] = []
        self._is_direct = True

    def __call__(self, value: Any) -> Any:
        """Note a value, or the results of a function, and give it back."""
        if inspect.isfunction(value):
            return self._noting(value)
        if isinstance(value, Tensor):
            if value.is_floating_point():
                self.kinds.add("floats")
            elif value.dtype == torch.int64:
                self.kinds.add("integers")
            if value.requires_grad and self._is_direct:
                self.kinds.add("gradients")
            elif value.requires_grad:
                value = value.view_as(value)  # other uses of the same tensor are another matter
                self._values.append(value)
        return value

    def watched(self, answer: Any) -> Any:
        """Call `answer` twice each time, the second time with inputs that ask for gradients.

        A class cannot be called twice: there, whatever carries a gradient counts.
        """
        if not inspect.isfunction(answer):
            return answer
        self._is_direct = False

        @functools.wraps(answer)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = answer(*args, **kwargs)
            with _undrawn([*args, *kwargs.values()]), contextlib.suppress(Exception):
                self._pass_gradients(answer, args, kwargs)
            return result

        return call

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if any(member.requires_grad for member in _members(result)):
                self.kinds.add("gradients")
            return result

        return call

    def _pass_gradients(self, answer: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self._values.clear()
        with torch.enable_grad():
            asking = {name: _asking(value) for name, value in kwargs.items()}
            result = answer(*map(_asking, args), **asking)
            ends = [end.sum() for end in _members(result) if end.requires_grad]
            if ends and self._values:
                through = torch.autograd.grad(sum(ends), self._values, allow_unused=True)  # type: ignore[arg-type]
                if any(gradient is not None for gradient in through):
                    self.kinds.add("gradients")


def _asking(value: Any) -> Any:
    """Copy an input so that it asks for a gradient, where it can."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_()
    return type(value)(map(_asking, value)) if type(value) in (list, tuple) else value


def _members(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple | dict):
        for member in result.values() if isinstance(result, dict) else result:
            yield from _members(member)


@contextlib.contextmanager
def _undrawn(inputs: list[Any]) -> Iterator[None]:
    """Leave random numbers as if none had been drawn."""
    generators = [value for value in inputs if isinstance(value, torch.Generator)]
    states = [generator.get_state() for generator in (torch.default_generator, *generators)]
    try:
        yield
    finally:
        for generator, state in zip((torch.default_generator, *generators), states, strict=True):
            generator.set_state(state)
