"""When two values count as equal in a check, and the words for an answer of another kind.

Shape and kind come first, then floats by their dtype.
"""

import math
import sys
from numbers import Number
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
            isinstance(got, dict)
            and got.keys() == expected.keys()
            and all(close(got[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(close(one, other) for one, other in zip(got, expected, strict=True))
        )
    if isinstance(expected, Number) and not isinstance(expected, bool):
        return _close_numbers(got, expected)
    return type(got) is type(expected) and bool(got == expected)


def looks_rounded(got: Any, expected: Any) -> bool:
    """Say whether a number seems to be the expected one, rounded to a few decimals or up or down.

    Small whole numbers never count: they are near everything.
    """
    plain = (int, float)
    if type(got) not in plain or type(expected) is not float or got == expected:
        return False
    if not (math.isfinite(got) and math.isfinite(expected)):
        return False
    if got == int(got):
        return abs(expected) >= 20 and got in (math.floor(expected), math.ceil(expected))
    return any(got == round(expected, digits) for digits in range(1, 6))


def is_tensor(value: Any) -> bool:
    """Say whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and isinstance(value, torch.Tensor)


def _close_numbers(got: Any, expected: Any) -> bool:
    if isinstance(got, bool) or not isinstance(got, Number):
        return False
    if isinstance(expected, int) and isinstance(got, int):
        return got == expected
    return math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9)  # type: ignore[arg-type]


def _close_tensors(got: Any, expected: Any) -> bool:
    import torch

    pair = []
    for value, other in ((got, expected), (expected, got)):
        if is_tensor(value):
            pair.append(value.detach().cpu())
        elif isinstance(value, Number) and other.ndim == 0:
            pair.append(torch.tensor(value))
        else:
            return False
    left, right = pair
    if left.shape != right.shape:
        return False
    if left.is_floating_point() != right.is_floating_point():
        # A float count for an integer is a different answer; a plain number for a scalar is not.
        if is_tensor(got) and is_tensor(expected):
            return False
    elif not left.is_floating_point():
        return torch.equal(left.long(), right.long())
    relative, absolute = _tolerance(got, expected)
    return torch.allclose(left.double(), right.double(), rtol=relative, atol=absolute)


def _tolerance(got: Any, expected: Any) -> tuple[float, float]:
    known = [_TOLERANCE.get(str(value.dtype)) for value in (got, expected) if is_tensor(value)]
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
