"""What a call changed of its arguments: how it is seen, and symptom, cause and cure of each."""

import sys
from typing import Any

from moe_teach.judging.compare import is_tensor

PLAIN = (bool, int, float, str, type(None))
_Fact = tuple[tuple[str, str, str], Any]

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


def copied(value: Any) -> Any:
    """Copy what can be changed in place without a method of its own; keep the rest itself."""
    if _is_fixed(value):
        return value
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(copied(member) for member in value)
    return value


def facts_of(value: Any, found: list[_Fact]) -> list[_Fact]:
    """Add to `found` all that a call could change of a value, each with the words that say so."""
    if _is_fixed(value):
        found.append((CHANGED, value))
        return found
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    members: Any = ()
    if type(value) is list and all(map(_is_fixed, value)):
        found.append((CHANGED, [*value, *map(type, value)]))  # 1, 1.0 and True are equal
    elif is_tensor(value):
        has_grad = (value.is_leaf or value.retains_grad) and value.grad is not None
        found.append((CHANGED, value.detach().clone()))
        found.append((GRADIENT, value.grad.clone() if has_grad else None))
        found.append((SWITCHED, value.requires_grad))
    elif torch and isinstance(value, torch.nn.Module):
        found.append((MODE, [module.training for module in value.modules()]))
        members = [*value.parameters(), *value.buffers()]
    elif numpy and isinstance(value, numpy.ndarray):
        found.append((CHANGED, (value.shape, value.dtype.str, value.tobytes())))
    elif isinstance(value, dict):
        found.append((CHANGED, list(value)))
        members = value.values()
    elif isinstance(value, list | tuple):
        found.append((CHANGED, len(value)))
        members = value
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        members = [getattr(value, name) for name in value.__dataclass_fields__]
    else:
        found.append((CHANGED, set(value) if isinstance(value, set) else value))
    for member in members:
        facts_of(member, found)
    return found


def _is_fixed(value: Any) -> bool:
    """Tell what nothing can change, in one look: a log has thousands of such values."""
    kind = type(value)
    return kind in PLAIN or (kind is tuple and all(map(_is_fixed, value)))


def is_same(before: Any, now: Any) -> bool:
    """Compare two facts of one value; what is there now may claim to equal anything."""
    if is_tensor(before):
        if not is_tensor(now) or before.shape != now.shape or before.dtype != now.dtype:
            return False
        if before.equal(now):
            return True
        return bool(((before == now) | ((before != before) & (now != now))).all())
    # What a learner put there may claim to equal anything: only what is plain is asked.
    kinds = (*PLAIN, list, tuple, set)
    return before is now or (type(before) is type(now) and type(before) in kinds and before == now)
