"""Tensors as raw bytes: dtype, shape, strides, and the memory that several of them may share.

A tensor that came with a question and goes back with its answer is named, not sent again; so is
memory that the two share. So `y is x`, views and changes in place stay what they were.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.course.grading.worker import sparse
from moe_teach.course.grading.worker.wire import MAX_BYTES, Nonsense

DTYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in vars(torch).values()
    if isinstance(kind, torch.dtype)
    and not str(kind).startswith(("torch.q", "torch.bits", "torch.float4"))
}
_MAX_TENSORS, _MAX_DIMS = 4096, 16


class Given:
    """The tensors of one message, as this side holds them."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.leaves: list[Tensor] = []  # the same, or what gradients arrive at in their place
        self.generators: list[Any] = []  # (handle, generator, state that came)
        self.storages: list[Any] = []
        self.sent: list[Any] = []  # the bytes of each storage when they were sent or came

    def index(self, tensor: Tensor) -> int | None:
        """Find a tensor of this message by what it is, not by what it equals."""
        return next((i for i, one in enumerate(self.tensors) if one is tensor), None)

    def place(self, tensor: Tensor) -> int | None:
        """Find the memory of this message that a tensor lies in."""
        at = tensor.untyped_storage().data_ptr()
        found = (i for i, one in enumerate(self.storages) if one.data_ptr() == at != 0)
        return next(found, None)

    def note(self) -> None:
        """Take bytes and states as they are now for those that came: the other side knows them."""
        both = zip(self.storages, self.sent, strict=True)
        self.sent = [None if then is None else bytes_of(storage) for storage, then in both]
        self.generators = [(handle, one, one.get_state()) for handle, one, _ in self.generators]

    def moved(self) -> list[tuple[int, torch.Generator]]:
        """List the generators that drew, with their handles."""
        known = self.generators
        return [(handle, one) for handle, one, then in known if not one.get_state().equal(then)]

    def changes(self) -> list[int]:
        """List the storages whose bytes are no longer those that were sent."""
        return [
            i
            for i, (storage, then) in enumerate(zip(self.storages, self.sent, strict=True))
            if then is not None and bytes_of(storage) != then
        ]


class Packing:
    """Collects the tensors of a message that is being written."""

    def __init__(self, answered: Given | None = None, *, takes_grads: bool = False) -> None:
        self.takes_grads = takes_grads  # what a leaf has in its `.grad` travels with it
        self.given = Given()
        self.entries: list[Any] = []
        self.memory: list[Any] = []
        self.blobs: list[Any] = []
        self._answered = answered
        self.earlier: Callable[[Tensor], list[Any] | None] = lambda _: None
        self._seen: dict[int, int] = {}
        self._places: dict[int, int] = {}  # of storages, by where they begin

    def blob(self, content: Any) -> int:
        """Add raw bytes and give their number."""
        self.blobs.append(content)
        return len(self.blobs) - 1

    def tensor(self, tensor: Tensor) -> list[Any]:
        """Write a tensor, or its name where it came with the question."""
        if self._answered is not None and (i := self._answered.index(tensor)) is not None:
            return ["A", i]
        if name := self.earlier(tensor):
            return name
        if id(tensor) not in self._seen:
            if tensor.device.type != "cpu" or tensor.layout != torch.strided:
                raise Nonsense(f"a tensor on {tensor.device.type} with layout {tensor.layout}")
            kind = str(tensor.dtype).removeprefix("torch.")
            flags = [tensor.requires_grad, tensor.is_leaf, isinstance(tensor, nn.Parameter)]
            plain = tensor.resolve_conj().resolve_neg().detach()
            layout = [list(plain.shape), list(plain.stride()), plain.storage_offset()]
            grad = tensor.grad if self.takes_grads and tensor.is_leaf else None
            at = None if grad is None else self.tensor(grad)[1]  # its entry comes first
            self.entries.append([kind, *layout, self._storage(plain, tensor), *flags, at])
            self._seen[id(tensor)] = len(self.given.tensors)
            self.given.tensors.append(tensor)
        return ["T", self._seen[id(tensor)]]

    def _storage(self, plain: Tensor, tensor: Tensor) -> int:
        storage = plain.untyped_storage()
        begin = storage.data_ptr()
        if begin in self._places:
            return self._places[begin]
        if begin:
            self._places[begin] = len(self.given.storages)
        shared = None
        if self._answered is not None and not tensor.requires_grad:
            shared = self._answered.place(plain)
        content = None
        if shared is not None:
            self.memory.append(["same", shared])
        elif sparse.is_vast(storage):
            pages = [[at, self.blob(page)] for at, page in sparse.touched(storage)]
            self.memory.append(["vast", [storage.nbytes(), pages]])
        else:
            content = bytes_of(storage)
            self.memory.append(["blob", self.blob(content)])
        self.given.storages.append(storage)
        self.given.sent.append(content)
        return len(self.given.storages) - 1


def opened(
    entries: Any, memory: Any, blobs: list[bytearray], asked: Given | None, *,
    is_trusted: bool, takes_gradients: bool,
) -> Given:  # fmt: skip
    """Build the tensors of a message; raise `Nonsense` for what no tensor can be."""
    given = Given()
    if len(entries) > _MAX_TENSORS or len(memory) > _MAX_TENSORS:
        raise Nonsense(f"{len(entries)} tensors in one result")
    for kind, value in memory:
        if kind == "blob":
            content = blobs[value]
            storage = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0)
            given.storages.append(storage.untyped_storage())
            given.sent.append(bytes(content))
        elif kind == "same" and asked is not None:
            given.storages.append(asked.storages[value])
            given.sent.append(None)
        elif kind == "vast" and is_trusted:
            n_bytes, pages = value
            given.storages.append(sparse.filled(n_bytes, [(at, blobs[i]) for at, i in pages]))
            given.sent.append(None)
        else:
            raise Nonsense("memory of an unknown kind")
    for entry in entries:
        leaf = _tensor(entry[:-1], given.storages)
        if is_trusted and entry[-1] is not None:
            leaf.grad = given.tensors[entry[-1]]
        given.leaves.append(leaf)
        given.tensors.append(_grown(leaf, is_leaf=bool(entry[6])) if takes_gradients else leaf)
    return given


def _tensor(entry: Any, storages: list[Any]) -> Tensor:
    name, shape, stride, offset, at, needs_grad, _is_leaf, is_parameter = entry
    numbers = [*shape, *stride, offset, at]
    if name not in DTYPES or not all(type(n) is int and n >= 0 for n in numbers):
        raise Nonsense("a tensor that cannot be")
    kind, storage = DTYPES[name], storages[at]
    count = 1
    for n in shape:
        count *= n
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if len(shape) > _MAX_DIMS or (count and (last + 1) * kind.itemsize > storage.nbytes()):
        raise Nonsense("a tensor that is larger than its memory")
    if count * kind.itemsize > max(MAX_BYTES, storage.nbytes()):
        raise Nonsense(f"a tensor of {count:,} numbers")
    tensor = torch.empty(0, dtype=kind).set_(storage, offset, shape, stride)
    if is_parameter:
        return nn.Parameter(tensor, requires_grad=bool(needs_grad))
    can_flow = kind.is_floating_point or kind.is_complex
    return tensor.requires_grad_(bool(needs_grad) and can_flow and not tensor.is_inference())


def _grown(leaf: Tensor, *, is_leaf: bool) -> Tensor:
    """Give what stands for a tensor that an operation made: it may be changed in place."""
    if is_leaf or not leaf.requires_grad:
        return leaf
    with torch.enable_grad():
        return _NotALeaf.apply(leaf)


class _NotALeaf(torch.autograd.Function):
    """Makes of a leaf what an operation gives: changes in place are allowed there."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        twin = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        return twin.copy_(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def bytes_of(storage: Any) -> bytes:
    """Copy the bytes of a storage."""
    if not storage.nbytes():
        return b""
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()


def put_back(storage: Any, content: bytearray) -> None:
    """Write bytes into a storage: what the other side changed in place."""
    if len(content) != storage.nbytes():
        raise Nonsense("memory of another size")
    if content:
        into = torch.empty(0, dtype=torch.uint8).set_(storage)
        into.copy_(torch.frombuffer(content, dtype=torch.uint8))
