"""When two values count as equal in a check, and the words for values and where two part.

Shape and kind come first, then floats by their dtype. Every text is deterministic: no memory
addresses, no times.
"""

import math
import re
import reprlib
import sys
from collections.abc import Iterator
from numbers import Integral, Number
from typing import Any

# Relative and absolute tolerance by significant bits. Loose enough for another order of summation
# over some hundreds of terms, tight enough to tell a forgotten factor from rounding.
_TOLERANCE = {
    "torch.float64": (1e-8, 1e-10),
    "torch.float32": (1e-4, 1e-6),
    "torch.float16": (5e-3, 1e-3),
    "torch.bfloat16": (3e-2, 1e-2),
}
_FEW = 48  # numbers of a tensor that are still worth reading
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


class Words(str):
    """A description in the place of a value ("a float"); feedback shows it without quotes."""

    __slots__ = ()


def close(got: Any, expected: Any) -> bool:
    """Say whether `got` is what was expected.

    Tensors need equal shapes; integers and booleans must agree exactly, floats within the
    tolerance of the coarser of the two dtypes. A zero-dimensional tensor may stand for a number
    and the other way round. Sequences and dictionaries are compared element by element. Any
    other mismatch (a `None`, a list for a tensor, NaN) is simply `False`.
    """
    if is_tensor(expected) or is_tensor(got):
        return _close_tensors(got, expected)
    if isinstance(expected, dict):
        return (
            is_a(got, dict)
            and got.keys() == expected.keys()
            and all(close(got[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            is_a(got, list, tuple)
            and len(got) == len(expected)
            and all(close(one, other) for one, other in zip(got, expected, strict=True))
        )
    if isinstance(expected, Number) and not isinstance(expected, bool):
        return _close_numbers(got, expected)
    return type(got) is type(expected) and bool(got == expected)


def is_tensor(value: Any) -> bool:
    """Say whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and issubclass(type(value), torch.Tensor)


def plain(tensor: Any) -> Any:
    """Give the same numbers, with their gradients, without what a subclass makes of them."""
    import torch

    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


def is_a(value: Any, *kinds: type) -> bool:
    """Say of which kind a value is by its type alone."""
    return issubclass(type(value), kinds)  # `isinstance` would ask the object's own `__class__`


def _close_numbers(got: Any, expected: Any) -> bool:
    if is_a(got, bool) or not is_a(got, Number):
        return False
    if isinstance(expected, Integral) and is_a(got, Integral):
        return int(got) == int(expected)
    return math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9)


def _close_tensors(got: Any, expected: Any) -> bool:
    import torch

    pair = []
    for value, other in ((got, expected), (expected, got)):
        if is_tensor(value):
            pair.append(plain(value).detach().cpu())
        elif is_a(value, Number) and other.ndim == 0:
            pair.append(torch.tensor(value, dtype=torch.double if is_a(value, float) else None))
        else:
            return False
    left, right = pair
    is_mixed = left.is_floating_point() != right.is_floating_point()
    # A float count for an integer is a different answer; a plain number for a scalar is not.
    if left.shape != right.shape or (is_mixed and is_tensor(got) and is_tensor(expected)):
        return False
    return not bool(apart(left, right, *tolerance(got, expected)).any())


def apart(left: Any, right: Any, relative: float, absolute: float) -> Any:
    """Mark the entries that differ; integers and booleans must agree exactly."""
    if not (left.is_floating_point() or right.is_floating_point()):
        return left.long() != right.long()
    return ~left.double().isclose(right.double(), rtol=relative, atol=absolute)


def tolerance(*values: Any) -> tuple[float, float]:
    """Give the relative and absolute tolerance of the coarsest dtype among the values."""
    known = [_TOLERANCE.get(str(plain(value).dtype)) for value in values if is_tensor(value)]
    return max([entry for entry in known if entry] or [_TOLERANCE["torch.float32"]])


def describe(value: Any) -> str:
    """Say what `value` is, on as few lines as it needs.

    Raises only what is no `Exception`; a learner's `__repr__` that loops must be stopped around it.
    """
    try:
        return str.__str__(_described(value))  # a `__repr__` may give a string of its own kind
    except Exception:  # or be broken
        return f"a {type(value).__name__} that cannot be printed"


def outlined(example: dict[str, Any]) -> dict[str, Any]:
    """Give an example with tensors by shape and dtype, for faults that no number has a part in."""
    return {
        name: Words(_head(plain(value))) if is_tensor(value) else value
        for name, value in example.items()
    }


def _described(value: Any) -> str:
    if is_tensor(value):
        return _describe_tensor(value)
    if is_a(value, tuple, list) and any(is_tensor(member) for member in value):
        members = "\n".join(f"[{i}] {describe(member)}" for i, member in enumerate(value))
        return f"{type(value).__name__} of {len(value)}:\n{members}"
    if is_a(value, float):
        return _float(value)
    if is_a(value, Words):
        return str(value)
    if is_a(value, bool, int, str, tuple, list, dict, set) or value is None:
        return _ADDRESS.sub("", _SHORT.repr(value))
    return f"{type(value).__name__}: {_ADDRESS.sub('', _SHORT.repr(value))}"


def difference(got: Any, expected: Any) -> str:
    """Say where two tensors of one shape part first, or an empty text when there is nothing.

    Of two tuples or lists, the first members that part are told apart.
    """
    if isinstance(expected, tuple | list):
        return _first_difference(got, expected)
    if not (is_tensor(got) and is_tensor(expected)):
        return ""
    left, right = plain(got).detach().cpu(), plain(expected).detach().cpu()
    if left.shape != right.shape or left.ndim == 0 or left.numel() == 0:
        return ""
    marks = apart(left, right, *tolerance(got, expected)) & ~(left.isnan() & right.isnan())
    if not bool(marks.any()):
        return ""
    count = int(marks.sum())
    at = tuple(marks.nonzero()[0].tolist())
    return (
        f"{count} of {left.numel()} entries differ; the first is at {list(at)}: "
        f"expected {_number(right[at].item())}, got {_number(left[at].item())}"
    )


def _first_difference(got: Any, expected: Any) -> str:
    if not is_a(got, tuple, list) or len(got) != len(expected):
        return ""
    for i, (one, other) in enumerate(zip(got, expected, strict=True)):
        text = difference(one, other)
        if text:
            return f"in [{i}], {text}"
    return ""


def _float(value: float) -> str:
    # 30.0 must not read like the integer 30: the kind may be just what is wrong.
    text = f"{value:.6g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"


def _describe_tensor(value: Any) -> str:
    value = plain(value)
    head = _head(value)
    if value.numel() == 0:
        return f"{head}, empty"
    flat = value.detach().cpu()
    if value.numel() > _FEW:
        return f"{head}, beginning {_numbers(flat.reshape(-1)[:6].tolist())[:-1]}, ...]"
    if value.ndim < 2:
        return f"{head} {_numbers(flat.tolist())}"
    return "\n".join([head, *_lines(flat.tolist(), value.ndim, ())])


def _head(tensor: Any) -> str:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    head = f"tensor {shape} {dtype}" if shape else f"scalar tensor {dtype}"
    return head if tensor.device.type == "cpu" else f"{head} on {tensor.device.type}"


def _lines(values: list[Any], ndim: int, at: tuple[int, ...]) -> Iterator[str]:
    """Write a matrix row by row, and what has more dimensions as matrices under their index."""
    if ndim == 2:
        indent = "    " if at else "  "
        yield from ([f"  {list(at)}"] if at else [])
        yield from (f"{indent}{_numbers(row)}" for row in values)
        return
    for i, part in enumerate(values):
        yield from _lines(part, ndim - 1, (*at, i))


def _numbers(values: Any) -> str:
    if isinstance(values, list):
        return "[" + ", ".join(_number(value) for value in values) + "]"
    return _number(values)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
