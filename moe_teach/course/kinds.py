"""Names the kind of an answer that should have been a tensor, and the likely way back."""

from typing import Any

from moe_teach.course.closeness import is_tensor
from moe_teach.course.exercise import require

_WAYS = {
    "ndarray": "a NumPy array. Leave out `.numpy()`, or use the torch function of the same name.",
    "list": "a list. `torch.stack` joins tensors and `torch.tensor` takes numbers; `.tolist()` "
    "leads the other way.",
    "tuple": "a tuple. Return the one tensor alone; is there a comma too many?",
    "float": "a plain Python number. Leave out `.item()`: it also cuts the gradient.",
    "int": "a plain Python number. Leave out `.item()` or `int(...)`.",
}
_COUNTS = {2: "two", 3: "three", 4: "four"}


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
