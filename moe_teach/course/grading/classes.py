"""Classes and kernels that live in a worker: stand-ins to make objects with, or to launch.

The methods of a stand-in are functions with the parameters of the learner's own, so that the engine
watches their calls as it watches any.
"""

import sys
from collections.abc import Callable
from typing import Any

from moe_teach.course.grading import batched
from moe_teach.course.grading.worker.mirrors import Mirror, grown
from moe_teach.course.grading.worker.objects import Distant
from moe_teach.course.grading.worker.things import dressed


def class_for(things: Any, told: Any) -> type:
    """Make the stand-in of a class."""
    is_module = told["is_module"] is True
    base: type = Mirror if is_module else Distant
    methods: dict[str, Any] = {}
    for facts in told["methods"]:
        name = str(facts["name"])
        methods[name] = dressed(_method(things, told["number"], name, is_module), facts)
    if "__init__" not in methods:
        own = {"name": "__init__", "parameters": None}
        methods["__init__"] = dressed(_method(things, told["number"], "__init__", is_module), own)
    return things.meet(type(str(told["name"]), (base,), methods), told["number"])


def _method(things: Any, number: int, name: str, is_module: bool) -> Callable[..., Any]:
    def init(self: Any, *args: Any, **named: Any) -> None:
        made = things.peer.ask("part", "make", number, list(args), named)
        if "told" in made:
            grown(things, made["number"], made["told"], Mirror, self)
            things.mirrors[made["number"]] = self
        else:
            object.__setattr__(self, "_line", (things.peer, made["number"]))
            things.meet(self, made["number"])

    def method(self: Any, *args: Any, **named: Any) -> Any:
        if is_module and name == "forward":
            return self._ask("forward", list(args), named)
        if is_module:
            return self._ask("method", name, list(args), named)
        return self._ask("do", name, list(args), named)

    return init if name == "__init__" else method


class _Launch:
    """A kernel with its grid."""

    def __init__(self, peer: Any, number: int, grid: Any) -> None:
        self._peer, self._number, self._grid = peer, number, grid

    def __call__(self, *args: Any, **named: Any) -> None:
        called(self._peer, self._number, list(self._grid), args, named)


def _is_launched(self: Any, *args: Any, **named: Any) -> None:
    raise RuntimeError("A kernel is launched, with a grid in brackets, and never called.")


def kernel_for(things: Any, told: Any) -> Any:
    """Make the stand-in of a kernel."""
    number = told["number"]

    def launched(self: Any, grid: Any) -> _Launch:
        return _Launch(things.peer, number, grid)

    # Like triton's own, it stays bare: it is launched and never called.
    members: dict[str, Any] = {
        "__getitem__": launched,
        "__call__": _is_launched,
        "__module__": "triton.elsewhere",
    }
    if told["has_code"]:
        members |= {"fn": None, "arg_names": [str(name) for name in told["names"]]}
    return things.meet(type(str(told["type"]), (), members)(), number)


def function_for(things: Any, told: Any) -> Any:
    """Make the stand-in of a function, which can also be watched where it lives."""
    number = told["number"]

    def call(*args: Any, **named: Any) -> Any:
        if any(map(batched.is_batched, args)):
            return batched.call(things.peer, number, args)
        return called(things.peer, number, None, args, named)

    function = dressed(call, told)

    def kept(given: dict[str, Any], at_least: int) -> Any:
        return things.peer.ask("kept", number, given, at_least)

    def repeated(times: int, args: Any) -> Any:
        return things.peer.ask("repeated", number, times, list(args))

    function.elsewhere_kept = kept  # type: ignore[attr-defined]
    function.elsewhere_repeated = repeated  # type: ignore[attr-defined]
    return things.meet(function, number)


def called(peer: Any, number: int, grid: Any, args: Any, named: Any) -> Any:
    """Call or launch what lives in a worker; under a watch that is open here, watched there."""
    watching = sys.modules.get("moe_teach.analysis.kernel_watch.watching")
    recorder = watching.open_recorder() if watching else None
    if recorder is None and grid is None:
        return peer.ask("call", number, list(args), named)
    if recorder is None:
        return peer.ask("launch", number, grid, list(args), named)
    from moe_teach.course.grading.worker import watched

    tensors = {buffer.name: buffer.tensor for buffer in recorder.buffers}
    how = [recorder.adopt, recorder.poison]
    found, told = peer.ask("watched", number, grid, list(args), named, tensors, how)
    watched.heard(recorder, told)
    return found
