"""Tells what later statements did to a value, and whether a statement alone gives it again."""

import ast
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from moe_teach.course.learner.mine import values
from moe_teach.course.learner.mine.statements import Program, Statement

MUTABLE = (list, dict, set)
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def says(statement: Statement, program: Program, name: str, value: Any) -> bool:
    """Tell whether the statement itself, run alone, gives a plain value."""
    node = statement.node
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    is_simple = isinstance(node, ast.Assign | ast.AnnAssign) and len(targets) == 1
    if not (is_simple and isinstance(targets[0], ast.Name) and node.value is not None):
        return False
    if name in program.switched_globals:
        return True  # functions change it: they begin where the notebook began
    if any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(node.value)):
        return False
    if type(value) in MUTABLE and not _is_filled_by_cells(program, statement, name):
        return True  # what changed it was a function of its own
    again = _evaluated(ast.Expression(node.value), program)
    return values.is_plain(again) and values.Writer().text(again) == values.Writer().text(value)


def _is_filled_by_cells(program: Program, made: Statement, name: str) -> bool:
    """Tell whether a cell, perhaps in a loop, may have changed a container after it was made."""
    later = (s for s in program.statements if s.order > made.order)
    return any(
        isinstance(node, ast.Attribute | ast.Subscript | ast.AugAssign)
        and _root(getattr(node, "target", node)) == name
        for statement in later
        if not isinstance(statement.node, _DEFINES)
        for node in ast.walk(statement.node)
    )


def touches(program: Program, made: Statement, name: str, value: Any) -> Iterator[Statement]:
    """Give the later statements that change a thing in its place."""
    is_object = not isinstance(value, type | FunctionType | BuiltinFunctionType)
    for statement in program.statements:
        if statement.order <= made.order:
            continue
        node = statement.node
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(not isinstance(t, ast.Name) and _root(t) == name for t in targets):
                yield statement
        elif is_object and name == _caller(node):
            yield statement


def _caller(node: ast.stmt) -> str:
    """Name the thing whose method a statement calls and does no more; empty for all else."""
    match node:
        case ast.Expr(ast.Call(ast.Attribute() as method)):
            return _root(method)
    return ""


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def changed_member(program: Program, name: str, value: Any) -> str:
    """Name the function or class of a library that the notebook put in place of another."""
    if not isinstance(value, ModuleType | type):
        return ""
    for statement in program.statements:
        for target in getattr(statement.node, "targets", []):
            if isinstance(target, ast.Attribute) and _root(target) == name:
                path = ast.unparse(target)
                if callable(_evaluated(ast.Expression(target), program)):
                    return path
    return ""


def _evaluated(expression: ast.Expression, program: Program) -> Any:
    """Evaluate an expression of the notebook; None where it raises."""
    text = ast.unparse(expression)  # what was assigned to becomes what is read
    try:
        return eval(compile(text, "<value>", "eval"), dict(program.namespace))
    except Exception:
        return None
