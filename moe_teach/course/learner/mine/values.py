"""Writes plain values as Python: what a part can hold without the notebook that made it."""

import builtins
import decimal
import enum
import fractions
import io
import math
import pathlib
import re
import sys
import types
from typing import Any

from moe_teach.judging.compare import is_tensor

_ATOMS = (bool, int, str, bytes, complex, type(None), type(Ellipsis))
_NAMED = (decimal.Decimal, fractions.Fraction)
_BRACKETS = {tuple: "()", list: "[]", set: "{}"}
_DEPTH = 20


class NotPlain(Exception):
    """A value cannot be written down."""


class Writer:
    """Writes values; remembers what the text needs: imports, and names of the reader's enums."""

    def __init__(self) -> None:
        self.imports: set[tuple[str, str]] = set()  # module, and what is taken from it
        self.names: set[str] = set()

    def text(self, value: Any, depth: int = 0) -> str:
        """Write a value as an expression; `NotPlain` where that cannot be done."""
        kind = type(value)
        if depth > _DEPTH:
            raise NotPlain
        if kind in _ATOMS:
            return "..." if value is Ellipsis else repr(value)
        if kind is float:
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        if kind in (tuple, list, set, frozenset, dict):
            return self._container(value, kind, depth + 1)
        if kind is range:
            return repr(value)
        if kind is slice:
            return (
                f"slice({', '.join(self.text(p) for p in (value.start, value.stop, value.step))})"
            )
        if isinstance(value, enum.Enum) and "." not in kind.__qualname__:
            return self._member(value)
        return self._of_a_library(value, kind)

    def _container(self, value: Any, kind: type, depth: int) -> str:
        if kind is dict:
            pairs = (f"{self.text(k, depth)}: {self.text(v, depth)}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        members = [self.text(member, depth) for member in value]
        if kind is frozenset:
            return f"frozenset([{', '.join(sorted(members))}])"
        if kind is set:
            return "{" + ", ".join(sorted(members)) + "}" if members else "set()"
        begin, end = _BRACKETS[kind]
        comma = "," if kind is tuple and len(members) == 1 else ""
        return begin + ", ".join(members) + comma + end

    def _member(self, value: Any) -> str:
        kind = type(value)
        if value.name is None:
            raise NotPlain
        self.names.add(kind.__name__)
        return f"{kind.__name__}.{value.name}"

    def _of_a_library(self, value: Any, kind: type) -> str:
        torch = sys.modules.get("torch")
        if torch and kind in (torch.dtype, torch.device, torch.Size):
            self.imports.add(("torch", ""))
            return f'torch.device("{value}")' if kind is torch.device else repr(value)
        if kind in _NAMED:
            self.imports.add((kind.__module__, kind.__name__))
            return repr(value)
        if isinstance(value, pathlib.PurePath):
            self.imports.add(("pathlib", "Path"))
            return f"Path({str(value)!r})"
        if kind is re.Pattern:
            self.imports.add(("re", ""))
            return f"re.compile({value.pattern!r}, {value.flags})"
        if (
            kind in (type, types.BuiltinFunctionType)
            and vars(builtins).get(value.__name__) is value
        ):
            return value.__name__
        raise NotPlain


def is_plain(value: Any) -> bool:
    """Tell whether a value can be written down."""
    try:
        Writer().text(value)
    except NotPlain:
        return False
    return True


def alien(value: Any) -> str:
    """Say what a value is if it lives in this session only; empty if it may be made again."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if is_tensor(value):
        return "a tensor made in this session"
    if numpy and isinstance(value, numpy.ndarray):
        return "an array made in this session"
    if torch and isinstance(value, torch.nn.Module):
        return "a model made in this session"
    if torch and isinstance(value, torch.Generator):
        return "a random generator of this session"
    if isinstance(value, io.IOBase):
        return "an open file"
    if isinstance(value, types.GeneratorType | types.CoroutineType | types.AsyncGeneratorType):
        return "a generator that has begun"
    return ""
