"""When two values count as equal in a check, and the words for values and for where they part.

Shape and kind come first, then floats by their dtype. What an object is, its type says: the object
itself could lie. Every text is deterministic: no memory addresses, no times.
"""

import math
import re
import reprlib
import sys
from numbers import Integral, Number
from typing import Any

from moe_teach.judging.exercise import Words, require

# Relative and absolute tolerance by significant bits. Loose enough for another order of summation
# over some hundreds of terms, tight enough to tell a forgotten factor from rounding.
_TOLERANCE = {
    "torch.float64": (1e-8, 1e-10),
    "torch.float32": (1e-4, 1e-6),
    "torch.float16": (5e-3, 1e-3),
    "torch.bfloat16": (3e-2, 1e-2),
}
_WAYS = {
    "ndarray": "a NumPy array. Leave out `.numpy()`, or use the torch function of the same name.",
    "list": "a list. `torch.stack` joins tensors and `torch.tensor` takes numbers; `.tolist()` "
    "leads the other way.",
    "tuple": "a tuple. Return the one tensor alone; is there a comma too many?",
    "float": "a plain Python number. Leave out `.item()`: it also cuts the gradient.",
    "int": "a plain Python number. Leave out `.item()` or `int(...)`.",
}
_FEW = 48  # numbers of a tensor that are still worth reading
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12
_COUNTS = {2: "two", 3: "three", 4: "four"}


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
            _is_a(got, dict)
            and got.keys() == expected.keys()
            and all(close(got[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            _is_a(got, list, tuple)
            and len(got) == len(expected)
            and all(close(one, other) for one, other in zip(got, expected, strict=True))
        )
    if isinstance(expected, Number) and not isinstance(expected, bool):
        return _close_numbers(got, expected)
    return type(got) is type(expected) and bool(got == expected)


def is_tensor(value: Any) -> bool:
    """Say whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and _is_a(value, torch.Tensor)


def plain(tensor: Any) -> Any:
    """Give the same numbers, with their gradients, without what a subclass makes of them."""
    import torch

    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


def _is_a(value: Any, *kinds: type) -> bool:
    return issubclass(type(value), kinds)  # `isinstance` would ask the object's own `__class__`


def _close_numbers(got: Any, expected: Any) -> bool:
    if _is_a(got, bool) or not _is_a(got, Number):
        return False
    if isinstance(expected, Integral) and _is_a(got, Integral):
        return int(got) == int(expected)
    return math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9)


def _close_tensors(got: Any, expected: Any) -> bool:
    import torch

    pair = []
    for value, other in ((got, expected), (expected, got)):
        if is_tensor(value):
            pair.append(plain(value).detach().cpu())
        elif _is_a(value, Number) and other.ndim == 0:
            pair.append(torch.tensor(value, dtype=torch.double if _is_a(value, float) else None))
        else:
            return False
    left, right = pair
    is_mixed = left.is_floating_point() != right.is_floating_point()
    # A float count for an integer is a different answer; a plain number for a scalar is not.
    if left.shape != right.shape or (is_mixed and is_tensor(got) and is_tensor(expected)):
        return False
    return not bool(_apart(left, right, *_tolerance(got, expected)).any())


def _apart(left: Any, right: Any, relative: float, absolute: float) -> Any:
    """Mark the entries that differ; integers and booleans must agree exactly."""
    if not (left.is_floating_point() or right.is_floating_point()):
        return left.long() != right.long()
    return ~left.double().isclose(right.double(), rtol=relative, atol=absolute)


def _tolerance(*values: Any) -> tuple[float, float]:
    known = [_TOLERANCE.get(str(plain(value).dtype)) for value in values if is_tensor(value)]
    return max([entry for entry in known if entry] or [_TOLERANCE["torch.float32"]])


def require_tensors(got: Any, names: tuple[str, ...], example: dict[str, Any]) -> None:
    """Reject what is not a tuple of exactly these tensors.

    Says which of them came as what, so that nobody looks for a wrong shape in a right list.
    """
    listed = ", ".join(names)
    require(
        isinstance(got, tuple) and len(got) == len(names),
        f"Return {_COUNTS[len(names)]} tensors, `{listed}`, in this order.",
        got=got,
        example=example,
    )
    for name, part in zip(names, got, strict=True):
        _one(part, f"`{name}`", got, example)


def require_tensor(got: Any, example: dict[str, Any]) -> None:
    """Reject an answer that is anything but one tensor."""
    _one(got, "The answer", got, example)


def require_gates_and_ids(got: Any, n_tokens: int, top_k: int, /, **example: Any) -> None:
    """Reject what is not `(gates, expert_ids)`, both (T, K), the ids integers."""
    require_tensors(got, ("gates", "expert_ids"), example)
    for name, part in zip(("gates", "expert_ids"), got, strict=True):
        require(
            part.shape == (n_tokens, top_k),
            f"`{name}` needs one row per token and one column per chosen expert: shape "
            f"({n_tokens}, {top_k}) here. Did you keep the experts that were not chosen, or "
            "reduce over the tokens?",
            got=part,
            example=example,
        )
    require(
        not got[1].is_floating_point(),
        "`expert_ids` must hold integers, the positions of the experts. Are the two results "
        "swapped? `topk` gives values first and indices second.",
        got=got[1],
        example=example,
    )


def _one(part: Any, what: str, shown: Any, example: dict[str, Any]) -> None:
    kind = type(part).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    way = _WAYS.get(kind, f"{article} {kind}.")
    require(
        is_tensor(part),
        f"{what} must be a torch tensor, and came as {way}",
        got=shown,
        example=example,
    )


def describe(value: Any) -> str:
    """Say what `value` is, on as few lines as it needs.

    Raises only what is no `Exception`; a learner's `__repr__` that loops must be stopped around it.
    """
    try:
        return str.__str__(_described(value))  # a `__repr__` may give a string of its own kind
    except Exception:  # or be broken
        return f"a {type(value).__name__} that cannot be printed"


def _described(value: Any) -> str:
    if is_tensor(value):
        return _describe_tensor(value)
    if _is_a(value, tuple, list) and any(is_tensor(member) for member in value):
        members = "\n".join(f"[{i}] {describe(member)}" for i, member in enumerate(value))
        return f"{type(value).__name__} of {len(value)}:\n{members}"
    if _is_a(value, float):
        return _float(value)
    if _is_a(value, Words):
        return str(value)
    if _is_a(value, bool, int, str, tuple, list, dict, set) or value is None:
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
    apart = _apart(left, right, *_tolerance(got, expected)) & ~(left.isnan() & right.isnan())
    if not bool(apart.any()):
        return ""
    count = int(apart.sum())
    at = tuple(apart.nonzero()[0].tolist())
    return (
        f"{count} of {left.numel()} entries differ; the first is at {list(at)}: "
        f"expected {_number(right[at].item())}, got {_number(left[at].item())}"
    )


def _first_difference(got: Any, expected: Any) -> str:
    if not _is_a(got, tuple, list) or len(got) != len(expected):
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
