"""Plain values as JSON: each with its exact kind, so that nothing can pass itself off as another.

What is not plain is left to whoever sends it: a grader may send much, a worker little.
"""

import dataclasses
import importlib
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch

from moe_teach.course.grading.worker.tensors import DTYPES, Given, Packing
from moe_teach.course.grading.worker.wire import Nonsense

_DEPTH, _COUNT, _TEXT = 40, 300_000, 2**20
_WHOLE = 2**62
_BOXES: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}
_UNBOX: dict[str, Callable[[Any], Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset}
_WATCH = "moe_teach.analysis.kernel_watch"
_RECORD_HOMES = (
    "moe_teach.types",
    "moe_teach.config",
    "moe_teach.nn.model",
    "moe_teach.data.batches",
    f"{_WATCH}.records",
    f"{_WATCH}.kernel_line",
    f"{_WATCH}.told",
)
_NAMED = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format)


class Writer:
    """Writes the values of one message."""

    def __init__(self, packing: Packing, other: Callable[["Writer", Any, int], Any]) -> None:
        self.packing = packing
        self._other = other
        self._count = 0
        self.names: Callable[[Any], Any] | None = None  # how parameters of modules are called

    def put(self, value: Any, depth: int = 0) -> Any:
        """Give a value as JSON."""
        kind = type(value)
        self._count += 1
        if depth > _DEPTH or self._count > _COUNT:
            raise Nonsense("a value that is nested too deep, or has too many parts")
        if value is None or kind is bool:
            return value
        if kind is str:
            if len(value) > _TEXT:
                raise Nonsense(f"a text of {len(value):,} characters")
            return value
        if kind is int:
            return value if -_WHOLE < value < _WHOLE else ["i", _whole(value)]
        if kind is float:
            return value if math.isfinite(value) else ["f", repr(value)]
        if kind in _BOXES:
            return [_BOXES[kind], [self.put(part, depth + 1) for part in value]]
        if kind is dict:
            return ["d", [[self.put(k, depth + 1), self.put(v, depth + 1)] for k, v in
                          value.items()]]  # fmt: skip
        return self._rarer(value, kind, depth)

    def _rarer(self, value: Any, kind: type, depth: int) -> Any:
        if kind in (torch.Tensor, torch.nn.Parameter):
            name = self.names and kind is torch.nn.Parameter and self.names(value)
            return name or self.packing.tensor(value)
        if kind.__name__ == "State" and issubclass(kind, dict):
            return ["d", [[key, self.packing.tensor(part)] for key, part in value.items()]]
        if kind is complex:
            return ["c", self.put(value.real), self.put(value.imag)]
        if kind is Fraction:
            return ["q", self.put(value.numerator), self.put(value.denominator)]
        if kind is bytes:
            return ["b", self.packing.blob(value)]
        if kind is range or kind is slice:
            parts = [value.start, value.stop, value.step]
            return [kind.__name__, [self.put(part, depth + 1) for part in parts]]
        if value is Ellipsis:
            return ["e"]
        if kind is torch.Size:
            return ["size", list(value)]
        if kind in _NAMED:
            return [kind.__name__, str(value).removeprefix("torch.")]
        if kind.__module__ == "torch.return_types":
            return ["R", kind.__name__, [self.put(part, depth + 1) for part in value]]
        if kind.__module__ == "numpy" and (found := self._of_numpy(value)):
            return found
        return self._other(self, value, depth)

    def record(self, value: Any, depth: int) -> Any:
        """Give a record of the library's, such as a `Routing`, field by field, else None."""
        kind = type(value)
        if not kind.__module__.startswith(_RECORD_HOMES) or not dataclasses.is_dataclass(kind):
            return None
        names = [field.name for field in dataclasses.fields(value)]
        fields = [[name, self.put(getattr(value, name), depth + 1)] for name in names]
        return ["D", f"{kind.__module__}:{kind.__qualname__}", fields]

    def _of_numpy(self, value: Any) -> Any:
        numpy = sys.modules["numpy"]
        if type(value) is numpy.ndarray and value.dtype.kind in "biufc":
            return ["N", value.dtype.str, list(value.shape), self.packing.blob(value.tobytes())]
        if isinstance(value, numpy.generic) and value.dtype.kind in "biufc":
            return ["n", value.dtype.str, self.packing.blob(value.tobytes())]
        return None


class Reader:
    """Reads the values of one message; `other` knows what is not plain."""

    def __init__(
        self,
        given: Given,
        asked: Given | None,
        blobs: list[bytearray],
        other: Callable[["Reader", Any], Any],
    ) -> None:
        self.given, self._asked, self.blobs, self._other = given, asked, blobs, other

    def get(self, tree: Any) -> Any:
        """Give the value that was written; raise `Nonsense` where nobody can have written this."""
        try:
            return self._get(tree)
        except (
            ValueError, TypeError, LookupError, RecursionError, AttributeError, ArithmeticError
        ) as error:  # fmt: skip
            raise Nonsense(f"a value that cannot be ({type(error).__name__})") from error

    def _get(self, tree: Any) -> Any:
        if type(tree) is not list:
            if type(tree) is dict:
                raise Nonsense("a value of an unknown form")
            return tree
        tag, *rest = tree
        if tag in _UNBOX:
            return _UNBOX[tag](self._get(part) for part in rest[0])
        if tag == "d":
            return {self._get(key): self._get(value) for key, value in rest[0]}
        if tag == "T":
            return self.given.tensors[_index(rest[0])]
        if tag == "A" and self._asked is not None:
            return self._asked.tensors[_index(rest[0])]
        if tag in _RARE:
            return _RARE[tag](self, *rest)
        return self._other(self, tree)

    def record(self, name: str, fields: Any) -> Any:
        """Build a record of the library's."""
        home, _, called = name.partition(":")
        if not home.startswith(_RECORD_HOMES):
            raise Nonsense(f"a record called {name!r}")
        kind = getattr(importlib.import_module(home), called)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise Nonsense(f"a record called {name!r}")
        return kind(**{str(key): self._get(value) for key, value in fields})

    def array(self, kind: str, shape: Any, blob: int) -> Any:
        """Build an array of NumPy's."""
        import numpy

        made = numpy.dtype(kind)
        if made.kind not in "biufc":
            raise Nonsense("an array of an unknown dtype")
        return numpy.frombuffer(self.blobs[_index(blob)], dtype=made).reshape(shape).copy()

    def returned(self, name: str, parts: Any) -> Any:
        """Build what torch returns where it returns two things."""
        kind = getattr(torch.return_types, name)
        return kind([self._get(part) for part in parts])


def _index(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise Nonsense("a part under no number")
    return number


def _whole(value: int) -> str:
    if value.bit_length() > 12_000:  # Python itself writes no longer ones
        raise Nonsense(f"an integer of {value.bit_length():,} bits")
    return str(value)


_RARE: dict[str, Callable[..., Any]] = {
    "i": lambda _, text: int(text),
    "f": lambda _, text: float(text),
    "c": lambda self, real, imag: complex(self.get(real), self.get(imag)),
    "q": lambda self, whole, parts: Fraction(self.get(whole), self.get(parts)),
    "b": lambda self, blob: bytes(self.blobs[_index(blob)]),
    "e": lambda _: ...,
    "range": lambda self, parts: range(*map(self.get, parts)),
    "slice": lambda self, parts: slice(*map(self.get, parts)),
    "size": lambda _, sizes: torch.Size(sizes),
    "dtype": lambda _, name: DTYPES[name],
    "device": lambda _, name: torch.device(name),
    "layout": lambda _, name: getattr(torch, name),
    "memory_format": lambda _, name: getattr(torch, name),
    "R": lambda self, name, parts: self.returned(name, parts),
    "N": lambda self, kind, shape, blob: self.array(kind, shape, blob),
    "n": lambda self, kind, blob: self.array(kind, [1], blob)[0],
}
