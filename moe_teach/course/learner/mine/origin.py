"""Tells which statement a thing was made by: the code objects in it know their file and line."""

import ast
import functools
import linecache
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from moe_teach.course.learner.mine.statements import Statement, first_line, statement_of
from moe_teach.judging import folding

_Code = types.CodeType


def code_of(thing: Any) -> _Code | None:
    """Give the code of a function, of what a decorator wrapped, or of a class's first method."""
    thing = innermost(thing)
    if isinstance(thing, type):
        return next((f.__code__ for f in methods(thing)), None)
    return getattr(thing, "__code__", None)


def innermost(thing: Any) -> Any:
    """Take wrappers off: decorators that say what they wrap, partials, methods, kernels."""
    for _ in range(50):
        if isinstance(thing, functools.partial):
            thing = thing.func
        elif isinstance(thing, types.MethodType | classmethod | staticmethod):
            thing = thing.__func__
        elif isinstance(thing, property) and thing.fget:
            thing = thing.fget
        elif isinstance(getattr(thing, "fn", None), types.FunctionType):
            thing = thing.fn  # a Triton kernel
        elif not isinstance(thing, type) and hasattr(thing, "__wrapped__"):
            thing = thing.__wrapped__
        else:
            break
    return thing


def methods(kind: type) -> Iterator[types.FunctionType]:
    """Give the functions that were written in a class's own body."""
    for member in vars(kind).values():
        function = innermost(member)
        if not isinstance(function, types.FunctionType) or isinstance(member, type):
            continue
        is_of_it = function.__qualname__.startswith(f"{kind.__qualname__}.")
        # What `dataclass` and `NamedTuple` put there has no text, or one of the library's.
        if is_of_it and source_of(function.__code__) and is_written_here(function):
            yield function


def source_of(code: _Code) -> str:
    """Give the text of the cell or file that code was written in; empty where nobody kept it."""
    return "".join(linecache.getlines(code.co_filename))


def is_written_here(function: types.FunctionType) -> bool:
    """Tell a function of the reader's from an installed one."""
    return not folding.is_installed(function.__code__.co_filename)


def globals_of(thing: Any) -> dict[str, Any] | None:
    """Give the namespace that a function or class was written in."""
    thing = innermost(thing)
    if isinstance(thing, type):
        first = next(methods(thing), None)
        return first.__globals__ if first else None
    return thing.__globals__ if isinstance(thing, types.FunctionType) else None


def made(statement: Statement, name: str, value: Any) -> bool:
    """Tell whether a statement that binds `name` can have made this value of it."""
    node, code = statement.node, code_of(value)
    if isinstance(node, ast.ClassDef) and not node.decorator_list:
        if not isinstance(value, type) or value.__name__ != name:
            return False
        return code is None or holds(statement, code)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if code is not None and holds(statement, code):
            return True
        return bool(node.decorator_list)  # whatever the decorator made of it
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
        return code is not None and holds(statement, code)
    return True


def holds(statement: Statement, code: _Code) -> bool:
    """Tell whether code was compiled from this statement, or from the same text."""
    node = statement.node
    if source_of(code).rstrip() == statement.cell.rstrip():
        return first_line(node) <= code.co_firstlineno <= (node.end_lineno or node.lineno)
    return any(_alike(code, other) for other in _codes(statement))


def lifted_out(statement: Statement, name: str, value: Any) -> Statement | None:
    """Take a definition out of the loop or the `with` around it; None if it has none."""
    lines = statement.text.splitlines()
    tree = ast.parse(statement.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            text = textwrap.dedent("\n".join(lines[first_line(node) - 1 : node.end_lineno]))
            alone = statement_of(text)
            if made(alone, name, value):
                return Statement(**{**vars(alone), "order": statement.order})
    return None


def _codes(statement: Statement) -> Iterator[_Code]:
    try:
        waiting = [compile(statement.text, "<statement>", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):
        return
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [const for const in code.co_consts if isinstance(const, _Code)]


def _alike(one: _Code, other: _Code) -> bool:
    return _facts(one) == _facts(other)


def _facts(code: _Code) -> tuple[Any, ...]:
    consts = tuple(repr(c) for c in code.co_consts if not isinstance(c, _Code))
    return code.co_name, code.co_code, code.co_names, code.co_varnames, consts
