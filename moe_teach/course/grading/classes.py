"""Classes and kernels that live in a worker: stand-ins to make objects with, or to launch.

The methods of a stand-in are functions with the parameters of the learner's own, so that the engine
watches their calls as it watches any.
"""

from collections.abc import Callable, Mapping
from typing import Any

from moe_teach.course.grading.worker.mirrors import Mirror, grown
from moe_teach.course.grading.worker.objects import Distant
from moe_teach.course.grading.worker.things import dressed, stand_in


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
    """A kernel with its grid: launched under the watcher where it lives."""

    def __init__(self, peer: Any, number: int, grid: Any) -> None:
        self._peer, self._number, self._grid = peer, number, grid

    def __call__(self, *args: Any, **named: Any) -> None:
        self._peer.ask("launch", self._number, list(self._grid), list(args), named)

    def elsewhere_watched(self, arguments: Mapping[str, Any], poison: bool) -> Any:
        """Launch, and give the watcher's record."""
        return seen_there(self._peer, self._number, list(self._grid), arguments, poison)


def kernel_for(things: Any, told: Any) -> Any:
    """Make the stand-in of a kernel."""
    number = told["number"]

    def launched(self: Any, grid: Any) -> _Launch:
        return _Launch(things.peer, number, grid)

    # Like triton's own, it stays bare: it is launched and never called.
    members: dict[str, Any] = {"__getitem__": launched, "__module__": "triton.elsewhere"}
    if told["has_code"]:
        members |= {"fn": None, "arg_names": [str(name) for name in told["names"]]}
    return things.meet(type(str(told["type"]), (), members)(), number)


def function_for(things: Any, told: Any) -> Any:
    """Make the stand-in of a function, which can also be watched where it lives."""
    number = told["number"]
    function = stand_in(things.peer, number, told)

    def watched(arguments: Mapping[str, Any], poison: bool) -> Any:
        return seen_there(things.peer, number, None, arguments, poison)

    def kept(given: dict[str, Any], at_least: int) -> Any:
        return things.peer.ask("kept", number, given, at_least)

    function.elsewhere_watched = watched  # type: ignore[attr-defined]
    function.elsewhere_kept = kept  # type: ignore[attr-defined]
    return things.meet(function, number)


def seen_there(peer: Any, number: int, grid: Any, arguments: Any, poison: bool) -> Any:
    """Launch in the worker; give the watcher's record of it, or raise the fault it found."""
    from moe_teach.analysis.kernel_watch import KernelFault, Seen, Told
    from moe_teach.analysis.kernel_watch.buffer import Buffer
    from moe_teach.analysis.kernel_watch.recorder import Recorder
    from moe_teach.course.grading.worker.watched import filled, is_tensor, short

    found = peer.ask("watched", number, grid, dict(arguments), poison)
    if "fault" in found:
        fault = KernelFault.__new__(KernelFault)
        Exception.__init__(fault, str(found["fault"]["text"]))
        fault.told = Told(*map(str, found["fault"]["told"]))
        fault.buffer, fault.kind = found["fault"]["buffer"], found["fault"]["kind"]
        fault.cause = found["fault"]["cause"]
        raise fault
    buffers = [Buffer(short(n), value) for n, value in arguments.items() if is_tensor(value)]
    recorder = Recorder(buffers)
    filled(recorder, found)
    return Seen(recorder)
