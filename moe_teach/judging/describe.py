"""Puts values into words: kind, shape and dtype first, then the numbers when they are few.

Every text is deterministic: no memory addresses, no times.
"""

import re
import reprlib
from typing import Any

from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import Words

_FEW = 48  # numbers of a tensor that are still worth reading
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def describe(value: Any) -> str:
    """Say what `value` is, on as few lines as it needs; never raises."""
    try:
        if is_tensor(value):
            return _describe_tensor(value)
        if isinstance(value, tuple | list) and any(is_tensor(member) for member in value):
            members = "\n".join(f"[{i}] {describe(member)}" for i, member in enumerate(value))
            return f"{type(value).__name__} of {len(value)}:\n{members}"
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, Words):
            return str(value)
        if isinstance(value, bool | int | str | tuple | list | dict | set) or value is None:
            return _ADDRESS.sub("", _SHORT.repr(value))
        return f"{type(value).__name__}: {_ADDRESS.sub('', _SHORT.repr(value))}"
    except Exception:  # a learner's object may have a broken __repr__
        return f"a {type(value).__name__} that cannot be printed"


def difference(got: Any, expected: Any) -> str:
    """Say where two tensors of one shape part first, or an empty text when there is nothing.

    Of two tuples or lists, the first members that part are told apart.
    """
    if isinstance(expected, tuple | list):
        return _first_difference(got, expected)
    if not (is_tensor(got) and is_tensor(expected)) or got.shape != expected.shape:
        return ""
    if got.ndim == 0 or got.numel() == 0:
        return ""
    left, right = got.detach().cpu().double(), expected.detach().cpu().double()
    apart = ~left.isclose(right, rtol=1e-4, atol=1e-6, equal_nan=True)
    if not bool(apart.any()):
        return ""
    count = int(apart.sum())
    place = [int(i) for i in apart.nonzero()[0]]
    at = tuple(place)
    return (
        f"{count} of {got.numel()} entries differ; the first is at {place}: "
        f"expected {_number(expected.detach()[at].item())}, got {_number(got.detach()[at].item())}"
    )


def _first_difference(got: Any, expected: Any) -> str:
    if not isinstance(got, tuple | list) or len(got) != len(expected):
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
    shape = tuple(value.shape)
    dtype = str(value.dtype).removeprefix("torch.")
    head = f"tensor {shape} {dtype}" if shape else f"scalar tensor {dtype}"
    if value.device.type != "cpu":
        head += f" on {value.device.type}"
    if value.numel() == 0:
        return f"{head}, empty"
    flat = value.detach().cpu()
    if value.numel() > _FEW:
        return f"{head}, beginning {_numbers(flat.reshape(-1)[:6].tolist())[:-1]}, ...]"
    if value.ndim < 2:
        return f"{head} {_numbers(flat.tolist())}"
    rows = flat.reshape(-1, shape[-1]).tolist()
    return "\n".join([head, *(f"  {_numbers(row)}" for row in rows)])


def _numbers(values: Any) -> str:
    if isinstance(values, list):
        return "[" + ", ".join(_number(value) for value in values) + "]"
    return _number(values)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
