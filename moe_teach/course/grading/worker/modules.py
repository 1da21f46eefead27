"""Modules that stay with their owner, mirrored on the other side with parameters of the same names.

A mirror holds the parameters, buffers and modes, as a stage or a training loop wants to have them,
and sends them along whenever the owner is to compute. So an optimiser, `functional_call`,
`.to(...)` and gradients work on a mirror as on any module.
"""

import copy
from collections.abc import MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import stateless

from moe_teach.course.grading.worker import objects
from moe_teach.course.grading.worker.mirrors import (
    Mirror,
    gradients_of,
    grown,
    of_library,
    snapshot,
    with_modes,
)
from moe_teach.course.grading.worker.remembered import Remembered
from moe_teach.course.grading.worker.wire import Nonsense


class State(dict[str, Any]):
    """The parameters and buffers of a module, sent as tensors and never by name."""


class Modules:
    """What both sides do with modules and objects that were lent."""

    def __init__(self) -> None:
        self.peer: Any = None
        self.mirrors: MutableMapping[int, Mirror] = {}
        self.subjects: dict[int, list[Any]] = {}  # by object, what it is asked about often
        self._named: dict[int, tuple[int, str, Any]] = {}
        self.remembered = Remembered()
        self._modes: dict[int, Any] = {}  # of what was lent, as the other side knows them

    def begin(self) -> None:
        """Watch no longer what an earlier stage left: each message would ask about all of it.

        What is used again is watched again.
        """
        self._modes.clear()
        self.remembered.begin()

    def do(self, what: str, *body: Any) -> Any:
        """Do something with a part of what was lent."""
        if what in ("make", "forward", "method", "look", "put", "copy"):
            return getattr(self, f"_{what}")(*body)
        return objects.do(self, what, *body)

    def write_module(self, writer: Any, value: nn.Module, depth: int, *, is_reply: bool) -> Any:
        """Tell all that a mirror of this module needs."""
        if "_modules" not in vars(value):  # its `__init__` never called that of `nn.Module`
            return self.write_rest(writer, value, depth, is_reply=is_reply)
        number = self.lend(value)
        return ["M", number, writer.put(self.described(value, number))]

    def described(self, value: nn.Module, number: int) -> dict[str, Any]:
        """Describe a module: its parts, parameters, buffers, and what in it is the other side's."""
        theirs: dict[str, nn.Module] = {}
        for path, part in value.named_modules():
            if path and isinstance(part, Mirror) and not _beneath(path, theirs):
                theirs[path] = part
        parts = [
            [path, type(part).__name__, part.training, of_library(part) if path else None]
            for path, part in value.named_modules(remove_duplicate=False)
            if not _beneath(path, theirs)
        ]
        self._modes[number] = _modes_of(value)
        parameters = {n: p for n, p in value.named_parameters() if not _beneath(n, theirs)}
        buffers = {n: b for n, b in value.named_buffers() if not _beneath(n, theirs)}
        kept = set(value.state_dict(keep_vars=True))
        for name, tensor in parameters.items():
            self._named[id(tensor)] = number, name, tensor
        return {
            "parts": parts,
            "parameters": State(parameters),
            "buffers": State(buffers),
            "empty": [
                [path, name, kind]
                for path, part in value.named_modules()
                if not _beneath(path, theirs)
                for kind, own in (("parameter", part._parameters), ("buffer", part._buffers))
                for name, tensor in own.items()
                if tensor is None
            ],
            "kept": [name for name in buffers if name in kept],
            "theirs": [[path, *part.address()] for path, part in theirs.items()],
        }

    def read_module(self, reader: Any, rest: list[Any]) -> Any:
        """Build the mirror of a module, or find the one that is there."""
        number, told = rest[0], reader.get(rest[1])
        mirror = self.mirrors.get(number)
        if mirror is None:
            mirror = self.mirrors[number] = grown(self, number, told, Mirror)
        else:
            _bring_up_to_date(mirror, told)
        return mirror

    def name_of(self, tensor: Any) -> Any:
        """Give the name under which both sides know a parameter."""
        known = self._named.get(id(tensor))
        if known and known[2] is tensor:
            return ["Q", "mine", known[0], known[1]]
        for number, mirror in self.mirrors.items():
            for name, own in mirror.named_parameters():
                if own is tensor:
                    return ["Q", "yours", number, name]
        return None

    def named(self, side: str, number: int, name: str) -> Any:
        """Find a parameter by the name that both sides know it under."""
        module = self.mirrors[number] if side == "mine" else self.lent[number]
        return module.get_parameter(name)

    def flushed(self, writer: Any) -> list[Any]:
        """Write what changed in mirrors since the other side last heard of it."""
        news = []
        for number, mirror in self.mirrors.items():
            if mirror.told is not None and (now := snapshot(mirror)) != mirror.told:
                modes = [[path, part.training] for path, part in mirror.own_parts()]
                tree = writer.put([State(mirror.state()), gradients_of(mirror)])
                news.append([number, tree, modes])
                object.__setattr__(mirror, "told", now)
        for number, known in self._modes.items():
            if (now := _modes_of(self.lent[number])) != known:
                self._modes[number] = now
                news.append([number, None, now])
        return news

    def heed(self, news: Any, reader: Any) -> None:
        """Do to modules what was done to their mirrors."""
        for number, tree, modes in news:
            if tree is None:
                mirror = self.mirrors.get(number)
                if mirror is not None:  # whoever held it may be done with it
                    _set_modes(mirror, modes)
                continue
            module, (state, grads) = self.lent[number], reader.get(tree)
            if not isinstance(module, nn.Module) or {type(state), type(grads)} != {dict}:
                raise Nonsense("a state of no module")
            known = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            with torch.no_grad():
                for name, tensor in state.items():
                    _take_over(known[name], tensor)
            for name, grad in grads.items():
                known[name].grad = grad
            for path, mode in modes:
                module.get_submodule(path).training = bool(mode)
            self._modes[number] = _modes_of(module)

    def _forward(self, number: int, path: str, state: Any, args: Any, named: Any) -> Any:
        with self._swapped(number, path, state) as module:
            return module(*args, **named)

    def _method(self, number: int, path: str, state: Any, name: str, args: Any, named: Any) -> Any:
        with self._swapped(number, path, state) as module:
            return getattr(module, objects.open_name(name))(*args, **named)

    def _look(self, number: int, path: str, state: Any, name: str) -> Any:
        with self._swapped(number, path, state) as module:
            value = getattr(module, objects.open_name(name))
        return [getattr(value, "__self__", None) is module, value]

    def _make(self, number: int, args: list[Any], named: dict[str, Any]) -> dict[str, Any]:
        return self._made(self.lent[number](*args, **named))

    def _made(self, thing: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"number": self.lend(thing)}
        if isinstance(thing, nn.Module) and "_modules" in vars(thing):
            told["told"] = self.described(thing, told["number"])
        return told

    def _put(self, number: int, path: str, name: str, value: Any) -> None:
        setattr(self.lent[number].get_submodule(path), objects.open_name(name), value)

    def _copy(self, number: int, path: str) -> dict[str, Any]:
        return self._made(copy.deepcopy(self.lent[number].get_submodule(path)))

    @contextmanager
    def _swapped(self, number: int, path: str, state: dict[str, Any]) -> Any:
        """Let a module compute with the tensors of its mirror."""
        module = self.lent[number].get_submodule(path)
        if not isinstance(module, nn.Module):
            raise Nonsense("a state of no module")
        before = dict(state)
        if number not in self._modes:
            self._modes[number] = _modes_of(self.lent[number])
        with stateless._reparametrize_module(module, state, tie_weights=True):
            yield module
        for name, tensor in state.items():
            if tensor is not before.get(name):
                _renew(module, name, tensor)


def _bring_up_to_date(mirror: Mirror, told: Any) -> None:
    """Give a mirror what its module has by now: its owner may have trained it, or woken it up."""
    _set_modes(mirror, [[path, training] for path, _, training, _ in told["parts"]])
    state = {**told["parameters"], **told["buffers"]}
    with torch.no_grad():
        for name, own in mirror.state().items():
            if name in state:
                _take_over(own, state[name])
    object.__setattr__(mirror, "told", snapshot(mirror))


def _modes_of(module: nn.Module) -> list[list[Any]]:
    return [[p, one.training] for p, one in module.named_modules(remove_duplicate=False)]


def _set_modes(mirror: Mirror, modes: Any) -> None:
    """Put the parts of a mirror into the modes of its module, which is no news to its owner."""
    known = {str(path): bool(mode) for path, mode in modes}
    for path, part in mirror.own_parts():
        part.training = known.get(path, part.training)
    if mirror.told is not None:
        object.__setattr__(mirror, "told", with_modes(mirror, mirror.told))


def _renew(module: nn.Module, name: str, tensor: Any) -> None:
    """Give a module a new buffer where it put one: what remembers the old one shall keep that."""
    path, _, last = name.rpartition(".")
    buffers = module.get_submodule(path)._buffers
    if last in buffers and isinstance(tensor, torch.Tensor):
        buffers[last] = tensor.detach().clone()


def _take_over(own: torch.Tensor, tensor: torch.Tensor) -> None:
    if own.shape == tensor.shape and own.dtype == tensor.dtype:
        if not torch.equal(own, tensor):
            own.copy_(tensor)
    else:
        own.data = tensor.detach().clone()


def _beneath(name: str, paths: Any) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)
