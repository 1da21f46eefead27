"""What is not plain: functions, objects and generators that stay where they are, and are named.

Whoever owns a thing lends it under a number. What the other side holds is a stand-in that asks the
owner; when it comes back, the owner finds the thing itself again.
"""

import inspect
import types
from collections.abc import Callable
from typing import Any

import torch

from moe_teach.course.grading.worker import errors
from moe_teach.course.grading.worker.mirrors import Mirror
from moe_teach.course.grading.worker.modules import Modules
from moe_teach.course.grading.worker.wire import Nonsense

_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_OPEN = object()  # stands for a default, which stays with its function


class Things(Modules):
    """The things of one side: lent to the other, and met of the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.lent: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._met: dict[int, tuple[int, Any]] = {}  # the stand-in is held, so its id stays its own

    def lend(self, thing: Any) -> int:
        """Give the number of a thing that stays here."""
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self.lent)
            self.lent[len(self.lent)] = thing
        return self._numbers[id(thing)]

    def meet(self, stand_in: Any, number: int) -> Any:
        """Remember whose stand-in this is."""
        if type(number) is not int:
            raise Nonsense("a thing under no number")
        self._met[id(stand_in)] = number, stand_in
        return stand_in

    def number_of(self, stand_in: Any) -> int | None:
        """Give the number under which the other side knows a thing of its own."""
        if isinstance(stand_in, Mirror):
            return stand_in.number_in(self)
        met = self._met.get(id(stand_in))
        return met[0] if met else None

    def write(self, writer: Any, value: Any, depth: int, *, is_reply: bool) -> Any:
        """Write what is not plain."""
        record = None
        met = self.number_of(value)
        if met is None or not is_reply:
            record = writer.record(value, depth)
        if record:
            return [*record, self.lend(value)]
        if met is not None:
            return ["U", met]
        if type(value) is torch.Generator:
            return ["G", writer.put(value.get_state()), self.lend(value)]
        if isinstance(value, BaseException):
            return ["E", errors.packed(value, "", None)]
        if isinstance(value, torch.nn.Module):
            return self.write_module(writer, value, depth, is_reply=is_reply)
        if is_function(value):
            return ["F", self.lend(value), facts_of(value)]
        return self.write_rest(writer, value, depth, is_reply=is_reply)

    def read(self, reader: Any, tree: list[Any]) -> Any:
        """Read what is not plain."""
        tag, *rest = tree
        if tag == "U":
            return self.lent[rest[0]]
        if tag == "B":
            return self.remembered.call(rest[0])[0].tensors[rest[1]]
        if tag == "D":
            return self.meet(reader.record(rest[0], rest[1]), rest[2])
        if tag == "F":
            return self.meet(stand_in(self.peer, rest[0], rest[1]), rest[0])
        if tag == "E":
            return errors.opened(rest[0])
        if tag == "G":
            return self._generator(reader, *rest)
        if tag == "Q":
            return self.named(*rest)
        if tag == "M":
            return self.read_module(reader, rest)
        return self.read_rest(reader, tag, rest)

    def _generator(self, reader: Any, state: Any, number: int) -> Any:
        generator = torch.Generator()
        generator.set_state(reader.get(state))
        reader.given.generators.append((number, generator, generator.get_state()))
        return self.meet(generator, number)


def is_function(value: Any) -> bool:
    """Tell what is lent to be called: functions, methods, partials, and what they wrap."""
    return isinstance(value, _FUNCTIONS) or type(value).__module__ == "functools"


def facts_of(function: Any) -> dict[str, Any]:
    """Tell of a function what its stand-in shows: its name and its parameters."""
    try:
        signature = inspect.signature(function)
        parameters = [
            [p.name, int(p.kind), p.default is not p.empty] for p in signature.parameters.values()
        ]
    except (TypeError, ValueError):
        parameters = None
    return {"name": str(getattr(function, "__name__", "function")), "parameters": parameters}


def stand_in(peer: Any, number: int, facts: Any) -> Callable[..., Any]:
    """Make a function that has the other side call its own."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return peer.ask("call", number, list(args), kwargs)

    return dressed(call, facts)


def dressed(function: Any, facts: Any) -> Any:
    """Give a stand-in the name and the parameters of what it stands for."""
    function.__name__ = function.__qualname__ = str(facts["name"])
    if facts["parameters"] is not None:
        kinds = list(inspect._ParameterKind)
        function.__signature__ = inspect.Signature(
            [
                inspect.Parameter(name, kinds[kind], default=_OPEN if has else inspect._empty)
                for name, kind, has in facts["parameters"]
            ]
        )
    return function
