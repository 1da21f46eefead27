"""What a call can change of the arguments that it was given, and the words for each change."""

import sys
from collections.abc import Iterator
from typing import Any

from moe_teach.judging.compare import is_tensor

PLAIN = (bool, int, float, str, type(None))
CHANGED = (
    "{who} changed its input `{name}` in place, and the caller still needs it as it was.",
    "`a += b`, `a[i] = b`, and methods that end in `_` or change a list write into the object that "
    "was given.",
    "Make a new value (`a = a + b`), or work on a copy.",
)
_GRADIENT = (
    "{who} left a gradient in its input `{name}`.",
    "`backward()` adds to the `.grad` of every leaf that it reaches.",
    "`torch.autograd.grad` returns gradients and leaves nothing behind.",
)
_SWITCHED = (
    "{who} switched `requires_grad` of its input `{name}`, which belongs to the caller.",
    "`requires_grad_()` and `requires_grad = True` mark the tensor itself, and no copy of it.",
    "Work on `x.detach().clone().requires_grad_()`.",
)
_MODE = (
    "{who} left its input `{name}` in another mode.",
    "`train()` and `eval()` last until somebody calls the other one.",
    "Keep `training` as it was at the beginning, and set it again at the end.",
)
_Fact = tuple[tuple[str, str, str], Any]


def copied(value: Any) -> Any:
    """Copy what can be changed in place without a method of its own; keep the rest itself."""
    if is_tensor(value):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(copied(member) for member in value)
    return value


def facts(value: Any) -> Iterator[_Fact]:
    """List all that a call could change of a value, each with the words that say so."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    members: Any = ()
    if is_tensor(value):
        has_grad = (value.is_leaf or value.retains_grad) and value.grad is not None
        yield CHANGED, value.detach().clone()
        yield _GRADIENT, value.grad.clone() if has_grad else None
        yield _SWITCHED, value.requires_grad
    elif torch and isinstance(value, torch.nn.Module):
        yield _MODE, [module.training for module in value.modules()]
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
        yield from facts(member)


def same(before: Any, now: Any) -> bool:
    if is_tensor(before):
        if not is_tensor(now) or before.shape != now.shape or before.dtype != now.dtype:
            return False
        return bool(((before == now) | ((before != before) & (now != now))).all())
    # What a learner put there may claim to equal anything: only what is plain is asked.
    kinds = (*PLAIN, list, tuple, set)
    return before is now or (type(before) is type(now) and type(before) in kinds and before == now)
