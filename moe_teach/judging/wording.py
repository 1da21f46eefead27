"""The words for values, and for where two of them part.

Every text is deterministic: no memory addresses, no times.
"""

import re
import reprlib
from collections.abc import Iterator
from typing import Any

from moe_teach.judging.compare import apart, is_a, is_tensor, plain, tolerance
from moe_teach.judging.exercise import Words

_FEW = 48  # numbers of a tensor that are still worth reading
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


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
