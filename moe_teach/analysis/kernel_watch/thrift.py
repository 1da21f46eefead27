"""Sparing Triton's interpreter what it works out at every step, and what comes out the same.

A block of a check's kernel is a few dozen numbers, with which numpy is done in no time. The rest
goes into types: each value makes its shape anew, checks it and writes down its name. Here that is
done once for each type, and later values of it are given what came out; and what has no effect is
left out.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

_templates: dict[Any, dict[str, Any]] = {}  # what blocks and tensors of one type have in common
_np_dtypes: dict[str, Any] = {}


def spared(interpreter: Any, builder: Any) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Give the owner, the name and the quicker stand-in for each thing that there is."""
    from triton.language import core

    if hasattr(interpreter, "_patch_builtin"):
        yield interpreter, "_patch_builtin", partial(_replace_builtins, interpreter)
    semantic = interpreter.interpreter_semantic
    is_asserting = getattr(builder.options, "debug", True)
    if hasattr(semantic, "binary_op_sanitize_overflow_impl") and not is_asserting:
        # It works out in int64 whether an integer overflows, for an assertion that is off.
        yield semantic, "binary_op_sanitize_overflow_impl", lambda *_: None
    if hasattr(semantic, "broadcast_impl_value"):
        yield semantic, "broadcast_impl_value", _broadcast(semantic, core)
    if hasattr(interpreter, "_get_np_dtype"):
        yield interpreter, "_get_np_dtype", _np_dtype(interpreter._get_np_dtype)
    yield core.block_type, "__init__", _block(core.block_type.__init__)
    yield core.tensor, "__init__", _tensor(core.tensor.__init__)


def _replace_builtins(interpreter: Any, package: Any, builder: Any, scope: Any) -> None:
    """Do not search all of `tl` at each launch, and again at each call of a helper inside it."""
    for name, member in _builtins_of(package):
        if getattr(package, name) is not member:
            return  # a helper inside a launch: all of them are replaced
        interpreter._patch_attr(package, name, member, builder, scope)


@cache
def _builtins_of(package: Any) -> tuple[tuple[str, Any], ...]:
    """List what a module or class of the language leaves to its compiler; asked before a launch."""
    from triton.language.core import is_builtin

    return tuple((name, one) for name, one in inspect.getmembers(package) if is_builtin(one))


def _broadcast(semantic: Any, core: Any) -> Callable[..., Any]:
    """Do not broadcast blocks to the shape that they have: it compares a tuple with a list."""
    original, builder = semantic.broadcast_impl_value, semantic.builder

    def spread(block: Any, shape: list[int]) -> Any:
        kind = core.block_type(block.type.scalar, shape)
        return core.tensor(builder.create_broadcast(block.handle, shape), kind)

    def broadcast(lhs: Any, rhs: Any) -> Any:
        if not (lhs.type.is_block() and rhs.type.is_block()):
            return original(lhs, rhs)
        one, other = _sizes(lhs.type), _sizes(rhs.type)
        if one == other:
            return lhs, rhs
        pairs = list(zip(one, other, strict=False))
        if len(one) != len(other) or any(a != b and 1 not in (a, b) for a, b in pairs):
            return original(lhs, rhs)
        shape = [b if a == 1 else a for a, b in pairs]
        return (
            lhs if one == shape else spread(lhs, shape),
            rhs if other == shape else spread(rhs, shape),
        )

    return broadcast


def _sizes(block: Any) -> list[int]:
    """Give a block's shape as a list; two tuples of the language are compared at length."""
    return list(getattr(block.shape, "values", block.shape))


def _np_dtype(original: Any) -> Callable[[Any], Any]:
    """Do not fill a table of all dtypes to look one of them up."""

    def np_dtype(dtype: Any) -> Any:
        name = dtype.scalar.name
        if name not in _np_dtypes:
            _np_dtypes[name] = original(dtype)
        return _np_dtypes[name]

    return np_dtype


def _block(original: Any) -> Callable[..., None]:
    def init(block: Any, element_ty: Any, shape: Any) -> None:
        sizes = tuple([getattr(size, "value", size) for size in shape])
        known = _templates.get((element_ty.name, sizes))
        # 16.0 equals 16, and is no size.
        if known is None or any(type(size) is not int for size in sizes):
            original(block, element_ty, shape)
            _templates[element_ty.name, sizes] = dict(vars(block))
            return
        own = vars(block)
        own.update(known)
        own["element_ty"] = element_ty

    return init


def _tensor(original: Any) -> Callable[..., None]:
    def init(tensor: Any, handle: Any, type: Any) -> None:
        known = _templates.get(type.name)
        if known is None:
            original(tensor, handle, type)
            _templates[type.name] = {**vars(tensor), "handle": None}
            return
        own = vars(tensor)  # with keywords, `update` takes twice as long
        own.update(known)
        own["handle"], own["type"], own["dtype"] = handle, type, type.scalar

    return init
