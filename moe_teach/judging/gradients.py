"""The one rule for gradients, and the check that keeps it.

Floating-point results carry the gradients of their floating-point inputs unless the text of the
exercise says otherwise, and they are compared by value: an answer may be right to the last digit
and teach its model nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

from moe_teach.judging.compare import close, is_tensor, outlined
from moe_teach.judging.exercise import Words, generator, require

_CUT = (
    "`.detach()`, `.item()`, `.tolist()`, `torch.tensor(...)` and `torch.no_grad()` cut the graph."
)
_KEEP = "Compute with torch functions from the inputs to the result, and take out what cuts."


def require_gradients(
    answer: Callable[..., Any],
    expected: Callable[..., Any],
    given: dict[str, Any],
    *,
    seed: int = 0,
    call: Callable[[Callable[..., Any], dict[str, Any]], Any] | None = None,
) -> None:
    """Reject an answer whose results do not hand on the gradients that `expected` hands on.

    Both are called with the arguments of `given`, in its order (or as `call(function, given)`
    does it); floating-point tensors, also inside lists, tuples and dictionaries, are the inputs.
    Each floating-point result is weighed with random numbers and summed, so that a gradient that
    belongs to another entry, or one that is too large, is seen.

    Raises:
        WrongAnswer: in a sentence that names the input whose gradient is missing or wrong.
    """
    call = call or (lambda function, values: function(*values.values()))
    got = _gradients(call, answer, given, seed)
    right = _gradients(call, expected, given, seed)
    flows = any(gradient is not None for gradient in got.values())
    _require_flow(flows or not right, given)
    for name in {**right, **got}:
        # No gradient and a gradient of zeros are the same to whoever learns from it.
        found = got[name] if name in got else right[name] * 0
        wanted = right[name] if name in right else found * 0
        symptom, cause, cure = _words(name, found, wanted)
        require(
            close(found, wanted),
            symptom,
            cause=cause,
            cure=cure,
            expected=wanted,
            got=found,
            example=given,
        )


def _require_flow(flows: bool, given: dict[str, Any]) -> None:
    require(
        flows,
        "The result carries no gradient, so nothing before it could learn.",
        cause=_CUT,
        cure=_KEEP,
        expected=Words("a result that `backward()` can start from"),
        got=Words("a result without a graph"),
        example=outlined(given),
    )


def _words(name: str, found: Any, wanted: Any) -> tuple[str, str, str]:
    """Give the symptom of a gradient that is not the wanted one, its likely cause and the cure."""
    if bool((found == 0).all()) and bool((wanted != 0).any()):
        gone = f"The result is not connected with `{name}`: its gradient is zero everywhere."
        return gone, _CUT, _KEEP
    if bool((wanted == 0).all()):
        return (
            f"A gradient of `{name}` comes through, and none belongs here.",
            "The text asks for a result that does not depend on it in this way.",
            "`.detach()` cuts it off.",
        )
    if not bool(found.isfinite().all()) and bool(wanted.isfinite().all()):
        return (
            f"The numbers are right, but the gradient of `{name}` is another one: it has entries "
            "that are infinite or NaN.",
            "Something infinite or NaN was computed first and thrown away afterwards. On the way "
            "back it is weighed with 0, and 0 times NaN is NaN.",
            "Put an ordinary number in its place before you compute with it: `masked_fill` or "
            "`torch.where` on what goes in, not on what comes out.",
        )
    return (
        f"The numbers are right, but the gradient of `{name}` is another one.",
        f"Most likely a part of what the result depends on is cut off, or counted twice. {_CUT}",
        f"Follow `{name}` through the formula: everything that comes from it keeps its graph.",
    )


def _gradients(
    call: Callable[..., Any], function: Callable[..., Any], given: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Give the gradient of each floating-point input that the results depend on, by its name."""
    import torch

    with torch.enable_grad():
        leaves: dict[str, Any] = {}
        values = {name: _as_leaf(value, name, leaves) for name, value in given.items()}
        random = generator(seed)
        total = sum(
            (result.double() * torch.randn(result.shape, generator=random).double()).sum()
            for result in _floats(call(function, values))
            if result.requires_grad
        )
        if not is_tensor(total):
            return {}
        names, tensors = list(leaves), list(leaves.values())
        found = torch.autograd.grad(total, tensors, allow_unused=True)
    return {name: part for name, part in zip(names, found, strict=True) if part is not None}


def _as_leaf(value: Any, name: str, leaves: dict[str, Any]) -> Any:
    """Copy an argument; its floating-point tensors become the leaves that gradients arrive at."""
    if is_tensor(value):
        if not value.is_floating_point():
            return value
        # Strides stay: an answer that cannot read a transposed input is told so elsewhere.
        leaves[name] = value.detach().clone().requires_grad_()
        return leaves[name]
    if isinstance(value, dict):
        return {key: _as_leaf(part, f"{name}[{key!r}]", leaves) for key, part in value.items()}
    if type(value) in (list, tuple):
        parts = [_as_leaf(part, f"{name}[{i}]", leaves) for i, part in enumerate(value)]
        return type(value)(parts)
    return value


def _floats(results: Any) -> Iterator[Any]:
    if is_tensor(results):
        if results.is_floating_point():
            yield results
    elif isinstance(results, dict):
        for part in results.values():
            yield from _floats(part)
    elif isinstance(results, list | tuple):
        for part in results:
            yield from _floats(part)
