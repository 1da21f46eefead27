"""What a call changed of its arguments: noticed where it ran, and done again where they live."""

import sys
from typing import Any

import torch

from moe_teach.course.grading.worker import tensors
from moe_teach.course.grading.worker.wire import Nonsense

_PLAIN = (bool, int, float, str, type(None))
_CONTAINERS = (list, tuple, dict, set)


class Before:
    """The arguments of a call as they came."""

    def __init__(self, body: list[Any], given: tensors.Given) -> None:
        self._body, self.given = body, given
        self._shape = _shape(body)
        self._flags = [tensor.requires_grad for tensor in given.tensors]
        self._grads = [None if one.grad is None else one.grad.clone() for one in given.leaves]
        self._hooks = [_hooks_of(one) for one in _optimizers(body)]
        self._versions = _versions_of(given)
        generators = [generator for _, generator, _ in given.generators]
        self._parts = [*_containers(body), *given.tensors, *generators]
        self._holders = list(map(sys.getrefcount, self._parts))

    def is_kept(self) -> bool:
        """Tell whether the answer holds on to any of it: who calls this, holds what it held."""
        now = map(sys.getrefcount, self._parts)
        return any(n > then for n, then in zip(now, self._holders, strict=True))

    def is_as_it_was(self) -> bool:
        """Tell quickly whether anything may have changed since, by what torch counts itself."""
        return (
            all(leaf.grad is None for leaf in self.given.leaves)
            and _shape(self._body) == self._shape
            and _versions_of(self.given) == self._versions
            and not self.given.moved()
        )

    def renewed(self) -> "Before":
        """Take what is now for what was: it has been told."""
        self.given.note()
        return Before(self._body, self.given)

    def changes(self, writer: Any) -> dict[str, Any]:
        """Write down what is different now."""
        given, changed = self.given, {}
        if touched := given.changes():
            blobs = [(i, tensors.bytes_of(given.storages[i])) for i in touched]
            changed["memory"] = [[i, writer.packing.blob(content)] for i, content in blobs]
        flags = [tensor.requires_grad for tensor in given.tensors]
        if flags != self._flags:
            changed["flags"] = flags
        both = list(zip(self._grads, (leaf.grad for leaf in given.leaves), strict=True))
        new = [(i, now) for i, (then, now) in enumerate(both) if then is None and now is not None]
        if new:
            changed["grads"] = [[i, writer.put(grad)] for i, grad in new]
        other = [(i, now) for i, (then, now) in enumerate(both) if _is_another(then, now)]
        if other:
            changed["other grads"] = [[i, writer.put(grad)] for i, grad in other]
        if moved := given.moved():
            changed["generators"] = [[h, writer.put(g.get_state())] for h, g in moved]
        hooks = [_hooks_of(one) for one in _optimizers(self._body)]
        if hooks != self._hooks:
            changed["hooks"] = hooks
        if _shape(self._body) != self._shape:
            changed["body"] = writer.put(self._body)
        return changed


def apply(changed: dict[str, Any], reader: Any, asked: Any, body: list[Any], things: Any) -> None:
    """Change the arguments here as they were changed there."""
    for i, blob in changed.get("memory", ()):
        tensors.put_back(asked.storages[i], reader.blobs[blob])
    flags = changed.get("flags", [tensor.requires_grad for tensor in asked.tensors])
    for tensor, flag in zip(asked.tensors, flags, strict=True):
        if tensor.is_leaf and tensor.requires_grad != flag:
            tensor.requires_grad_(bool(flag))
    for i, tree in changed.get("grads", ()):
        _add_gradient(asked.tensors[i], reader.get(tree))
    for i, tree in changed.get("other grads", ()):
        asked.tensors[i].grad = reader.get(tree)
    for handle, tree in changed.get("generators", ()):
        generator = things.lent[handle]
        if type(generator) is not torch.Generator:
            raise Nonsense("the state of no generator")
        generator.set_state(reader.get(tree))
    for optimizer, n_hooks in zip(_optimizers(body), changed.get("hooks", ()), strict=False):
        if n_hooks > _hooks_of(optimizer):  # that one is there is seen here; what it does is not
            optimizer.register_step_post_hook(_of_the_other_side)
    if "body" in changed:
        _make_alike(body, reader.get(changed["body"]))


def _versions_of(given: tensors.Given) -> list[int]:
    """Count the changes in place of each tensor, where torch does."""
    return [0 if one.is_inference() else one._version for one in given.tensors]


def _containers(value: Any) -> list[Any]:
    """List what can be changed, and can hold more of it."""
    if type(value) in (list, dict, set):
        inner = value.values() if type(value) is dict else value
        return [value, *(one for part in inner for one in _containers(part))]
    return [one for part in value for one in _containers(part)] if type(value) is tuple else []


def _optimizers(value: Any) -> list[torch.optim.Optimizer]:
    """List the optimisers among the arguments of a call, in their order."""
    if type(value) in (list, tuple):
        return [one for part in value for one in _optimizers(part)]
    if type(value) is dict:
        return _optimizers(list(value.values()))
    return [value] if isinstance(value, torch.optim.Optimizer) else []


def _hooks_of(optimizer: torch.optim.Optimizer) -> int:
    """Count what runs with every step."""
    return len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def _of_the_other_side(*_: Any) -> None:
    """Stand for a hook that a learner's code has left."""


def _is_another(then: torch.Tensor | None, now: torch.Tensor | None) -> bool:
    """Tell whether a gradient that came along was taken away or has other numbers now."""
    return then is not None and (now is None or not torch.equal(then, now))


def _add_gradient(tensor: torch.Tensor, grad: torch.Tensor) -> None:
    if tensor.is_leaf:
        tensor.grad = grad if tensor.grad is None else tensor.grad + grad


def _shape(value: Any) -> Any:
    """Give the containers of a value with the identities of what is in them."""
    if type(value) in (list, tuple):
        return [(id(part), _shape(part)) for part in value]
    if type(value) is dict:
        return [(key, id(part), _shape(part)) for key, part in value.items()]
    return frozenset(value) if type(value) is set else None


def _make_alike(here: Any, there: Any) -> None:
    """Change the containers of one value into those of another, keeping the objects."""
    if type(here) is not type(there) and not isinstance(here, dict):
        return
    if type(here) in (list, tuple):
        for one, other in zip(here, there, strict=False):
            _make_alike(one, other)
        if type(here) is list and not _equal(here, there):
            here[:] = there
    elif isinstance(here, dict):
        for key in here.keys() & there.keys():
            _make_alike(here[key], there[key])
        if list(here) != list(there) or not _equal(list(here.values()), list(there.values())):
            kept = {k: here[k] if k in here and _equal([here[k]], [there[k]]) else there[k]
                    for k in there}  # fmt: skip
            here.clear()
            here.update(kept)
    elif type(here) is set:
        here.clear()
        here.update(there)


def _equal(here: list[Any], there: list[Any]) -> bool:
    """Compare plain parts by value, the rest by what it is; containers were made alike before."""
    if len(here) != len(there):
        return False
    return all(
        type(a) is type(b) and (type(a) in _CONTAINERS or (a == b if type(a) in _PLAIN else a is b))
        for a, b in zip(here, there, strict=True)
    )
