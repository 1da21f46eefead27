"""What a call left behind in its arguments, with the words for it: symptom, cause and cure."""

import sys
from collections.abc import Iterator
from typing import Any

from moe_teach.judging.compare import is_tensor

Told = tuple[str, str, str]
Fact = tuple[Told, Any]
PLAIN = (bool, int, float, str, type(None))

CHANGED = (
    "{who} changed its input `{name}` in place, and the caller still needs it as it was.",
    "`a += b`, `a[i] = b`, and methods that end in `_` or change a list write into the object that "
    "was given.",
    "Make a new value (`a = a + b`), or work on a copy.",
)
GRADIENT = (
    "{who} left a gradient in its input `{name}`.",
    "`backward()` adds to the `.grad` of every leaf that it reaches.",
    "`torch.autograd.grad` returns gradients and leaves nothing behind.",
)
SWITCHED = (
    "{who} switched `requires_grad` of its input `{name}`, which belongs to the caller.",
    "`requires_grad_()` and `requires_grad = True` mark the tensor itself, and no copy of it.",
    "Work on `x.detach().clone().requires_grad_()`.",
)
MODE = (
    "{who} left its input `{name}` in another mode.",
    "`train()` and `eval()` last until somebody calls the other one.",
    "Keep `training` as it was at the beginning, and set it again at the end.",
)


def held(value: Any) -> list[Fact]:
    """Write down all that a call could change of a value, before the call."""
    return [(told, fact.clone() if is_tensor(fact) else fact) for told, fact in _facts(value)]


def trace_in(value: Any, before: list[Fact]) -> Told | None:
    """Give the words for what is no longer as it was held, or None."""
    now = list(_facts(value))
    if len(before) != len(now):
        return CHANGED
    pairs = zip(before, now, strict=True)
    return next((told for (told, old), (_, new) in pairs if not _same(old, new)), None)


def _facts(value: Any) -> Iterator[Fact]:
    """List all that a call could change of a value, each with the words that say so."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    members: Any = ()
    if is_tensor(value):
        has_grad = (value.is_leaf or value.retains_grad) and value.grad is not None
        yield CHANGED, value.detach()
        yield GRADIENT, value.grad if has_grad else None
        yield SWITCHED, value.requires_grad
    elif torch and isinstance(value, torch.nn.Module):
        yield MODE, [module.training for module in value.modules()]
        members = [*value.parameters(), *value.buffers()]
    elif numpy and isinstance(value, numpy.ndarray):
        yield CHANGED, (value.shape, value.dtype.str, value.tobytes())
    elif isinstance(value, dict):
        yield CHANGED, list(value)
        members = value.values()
    elif isinstance(value, list | tuple):
        yield CHANGED, len(value)
        members = value
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        members = [getattr(value, name) for name in value.__dataclass_fields__]
    else:
        yield CHANGED, set(value) if isinstance(value, set) else value
    for member in members:
        yield from _facts(member)


def _same(before: Any, now: Any) -> bool:
    if is_tensor(before):
        if not is_tensor(now) or before.shape != now.shape or before.dtype != now.dtype:
            return False
        # One operation tells of nearly every call; only NaNs, unequal to themselves, ask for more.
        return before.equal(now) or _same_beside_nans(before, now)
    # What a learner put there may claim to equal anything: only what is plain is asked.
    kinds = (*PLAIN, list, tuple, set)
    return before is now or (type(before) is type(now) and type(before) in kinds and before == now)


def _same_beside_nans(before: Any, now: Any) -> bool:
    return bool(((before == now) | ((before != before) & (now != now))).all())
