"""When two values count as equal in a check, and whether an answer is tensors at all.

Shape and kind come first, then floats by their dtype. What an object is, its type says: the object
itself could lie.
"""

import math
import sys
from numbers import Integral, Number
from typing import Any

from moe_teach.judging.exercise import require

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
    return torch is not None and is_a(value, torch.Tensor)


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
