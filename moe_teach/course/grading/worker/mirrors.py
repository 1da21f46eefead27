"""What stands for a module on the side that does not own it."""

import copy
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.course.grading.worker.wire import Nonsense

_OWN = ("training", "told")
_LIBRARY = ("moe_teach.nn.", "torch.nn.modules.")
_INTERNALS = frozenset(vars(nn.Module()))


class Mirror(nn.Module):
    """A module of the other side's: its tensors are here, and it computes there."""

    told: Any = None
    _own: tuple[str, ...] = ()  # the paths of all parts that belong to the same owner
    _line: Any = None  # things, number, path

    def forward(self, *args: Any, **named: Any) -> Any:
        """Have the owner compute, with the parameters as they are here."""
        return self._ask("forward", list(args), named)

    def own_parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Walk through the parts that belong to the same owner."""
        for path in self._own:
            yield path, self.get_submodule(path)

    def number_in(self, things: Any) -> int | None:
        """Give the number under which the owner knows it, if it is a whole one of these things."""
        if self._line is None or self._line[0] is not things or self._line[2]:
            return None
        return self._line[1]

    def address(self) -> tuple[int, str]:
        """Give the number and the path by which the owner knows it."""
        return self._line[1], self._line[2]

    def state(self) -> dict[str, Tensor]:
        """Give all parameters and buffers by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or self._line is None:
                raise
        is_method, value = self._ask("look", name)
        if not is_method:
            return value
        return lambda *args, **named: self._ask("method", name, list(args), named)

    def __setattr__(self, name: str, value: Any) -> None:
        tensors = isinstance(value, Tensor | nn.Module) or name in self.__dict__.get("_buffers", ())
        if name.startswith("_") or name in _OWN or tensors or self._line is None:
            super().__setattr__(name, value)
        else:
            things, number, path = self._line
            things.peer.ask("part", "put", number, path, name, value)
            self.__dict__.setdefault("_put", {})[name] = value

    def __deepcopy__(self, memo: Any) -> Any:
        things, number, path = self._line
        made = things.peer.ask("part", "copy", number, path)
        twin = grown(things, made["number"], made["told"], Mirror, type(self).__new__(type(self)))
        things.mirrors[made["number"]] = twin
        with torch.no_grad():
            for name, tensor in self.state().items():  # the owner may not know these yet
                twin.state()[name].data = tensor.detach().clone()
        memo[id(self)] = twin
        for name, value in self.__dict__.get("_put", {}).items():
            setattr(twin, name, copy.deepcopy(value, memo))
        return twin

    def _ask(self, what: str, *body: Any) -> Any:
        from moe_teach.course.grading.worker.modules import State

        things, number, path = self._line
        held = self.state()
        state = State(held)
        found = things.peer.ask("part", what, number, path, state, *body)
        for name, tensor in state.items():
            if tensor is not held.get(name):
                _replace(self, name, tensor)
        return found


def _replace(module: nn.Module, name: str, tensor: Any) -> None:
    """Put a tensor where the owner has put a new one."""
    if not isinstance(tensor, Tensor):
        raise Nonsense("a state that is no tensor")
    path, _, last = name.rpartition(".")
    home = module.get_submodule(path)
    if last in home._parameters:
        with torch.no_grad():
            home._parameters[last].data = tensor.detach()  # type: ignore[union-attr]
    else:
        home._buffers[last] = tensor


def grown(things: Any, number: int, told: Any, kind: type, module: Any = None) -> Any:
    """Build a mirror from the description of its module; `module` is filled, if there is one."""
    theirs = {path: things.lent[n].get_submodule(inner) for path, n, inner in told["theirs"]}
    parts: dict[str, Any] = {}
    for path, name, training, of_library in told["parts"]:
        part = module if not path and module is not None else _part(kind, str(name), of_library)
        nn.Module.__init__(part)
        part.training = bool(training)
        if of_library:
            vars(part).update(of_library[1])
        parts[path] = part
    for path, part in {**parts, **theirs}.items():
        above, _, last = path.rpartition(".")
        if path:
            parts[above].add_module(last, part)
    for name, tensor in told["parameters"].items():
        above, _, last = name.rpartition(".")
        parts[above].register_parameter(last, nn.Parameter(tensor, tensor.requires_grad))
    for name, tensor in told["buffers"].items():
        above, _, last = name.rpartition(".")
        parts[above].register_buffer(last, tensor, persistent=name in told["kept"])
    for path, name, kind in told["empty"]:
        (parts[path]._parameters if kind == "parameter" else parts[path]._buffers)[name] = None
    for path, part in parts.items():
        if isinstance(part, Mirror):
            object.__setattr__(part, "_line", (things, number, path))
    object.__setattr__(parts[""], "_own", tuple(parts))
    object.__setattr__(parts[""], "told", snapshot(parts[""]))
    return parts[""]


def of_library(part: nn.Module) -> Any:
    """Tell of a part of the library's kind what makes one like it; nothing of any other part."""
    kind = type(part)
    own = {name: value for name, value in vars(part).items() if name not in _INTERNALS}
    is_plain = all(map(_is_plain, own.values()))
    if not kind.__module__.startswith(_LIBRARY) or not is_plain:
        return None
    return [f"{kind.__module__}:{kind.__qualname__}", own]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    kinds = (bool, int, float, str, type(None), torch.dtype)
    return type(value) in kinds or type(value).__module__.startswith("moe_teach.config")


def _part(kind: type, name: str, of_library: Any) -> Any:
    if of_library:
        home, _, called = str(of_library[0]).partition(":")
        found = (
            getattr(importlib.import_module(home), called, None)
            if (home.startswith(_LIBRARY))
            else None
        )
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise Nonsense("a part of an unknown kind")
        return found.__new__(found)
    made = type(name if name.isidentifier() else "Module", (kind,), {})
    return made.__new__(made)


def snapshot(mirror: Mirror) -> Any:
    """Note what a mirror holds: whoever changes it in place or replaces it changes this.

    It is asked about every mirror with every message, so it goes without the names.
    """
    return [(part.training, *map(_mark, _tensors_of(part))) for part in _parts_of(mirror)]


def with_modes(mirror: Mirror, told: Any) -> Any:
    """Note the modes as they are now, and the tensors as a snapshot has them."""
    return [
        (part.training, *marks) for part, (_, *marks) in zip(_parts_of(mirror), told, strict=True)
    ]


def gradients_of(mirror: Mirror) -> dict[str, Any]:
    """Give what `backward()` has left at each parameter, None where that is nothing."""
    return {name: parameter.grad for name, parameter in mirror.named_parameters()}


def _mark(tensor: Any) -> tuple[Any, ...]:
    return id(tensor), tensor._version, tensor.data_ptr(), tensor.dtype


def _parts_of(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    for part in module._modules.values():
        if part is not None:
            yield from _parts_of(part)


def _tensors_of(part: nn.Module) -> Iterator[Tensor]:
    """Walk through parameters, their gradients and buffers."""
    for parameter in part._parameters.values():
        if parameter is not None:
            yield parameter
            if parameter.grad is not None:
                yield parameter.grad
    yield from (buffer for buffer in part._buffers.values() if buffer is not None)
