"""When two values count as equal in a check: shape and kind first, then floats by their dtype."""

import math
from numbers import Number
from typing import Any

# Relative and absolute tolerance by significant bits. Loose enough for another order of summation
# over some hundreds of terms, tight enough to tell a forgotten factor from rounding.
_TOLERANCE = {
    "torch.float64": (1e-8, 1e-10),
    "torch.float32": (1e-4, 1e-6),
    "torch.float16": (5e-3, 1e-3),
    "torch.bfloat16": (3e-2, 1e-2),
}


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
    # By name along the bases, so that questions and numbers need no torch.
    return any(
        base.__name__ == "Tensor" and base.__module__.split(".")[0] == "torch"
        for base in type(value).__mro__
    )


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
