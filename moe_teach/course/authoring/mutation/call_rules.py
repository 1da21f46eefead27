"""The rules for what is handed over: arguments, keywords, results, ranges and parameters."""

import ast
from collections.abc import Iterator

from moe_teach.course.authoring.mutation.site import (
    Before,
    Change,
    Rule,
    Site,
    changed,
    is_module,
    method_name,
    with_item,
)

_SYMMETRIC = {"min", "max", "minimum", "maximum", "transpose", "logical_and", "logical_or"}
_LAST_AXIS = {"topk", "sort", "argsort", "kthvalue", "median", "mode"}
_USUAL = {"int": ("1", "2"), "float": ("1.0",), "bool": ("True", "False")}


def argument_order(site: Site) -> Iterator[Change]:
    """Exchange two neighbouring arguments of a call."""
    if isinstance(site.node, ast.Call):
        called = ast.unparse(site.node.func).split(".")[-1]
        given = site.node.args if called not in _SYMMETRIC else []
        for at in range(len(given) - 1):
            swapped = [*given[:at], given[at + 1], given[at], *given[at + 2 :]]
            yield changed(site.node, args=swapped)


def tuple_order(site: Site) -> Iterator[Change]:
    """Exchange two neighbours of a tuple."""
    if isinstance(site.node, ast.Tuple):
        members = site.node.elts
        for at in range(len(members) - 1):
            swapped = [*members[:at], members[at + 1], members[at], *members[at + 2 :]]
            yield changed(site.node, elts=swapped)


def keyword(site: Site) -> Iterator[Change]:
    """Leave one keyword of a call to its default: a mask, `stable`, `keepdim`, a generator."""
    if isinstance(site.node, ast.Call):
        given = site.node.keywords
        for at, word in enumerate(given):
            if ast.unparse(word) == "dim=-1" and method_name(site.node) in _LAST_AXIS:
                continue  # that is their default
            yield changed(site.node, keywords=[*given[:at], *given[at + 1 :]])


def skipped_call(site: Site) -> Iterator[Change]:
    """Use what a function was to work on as if it were its result."""
    if isinstance(site.node, ast.Call) and not isinstance(site.parent, ast.Expr):
        called = site.node.func
        if isinstance(called, ast.Attribute) and not is_module(called.value):
            yield called.value
        elif site.node.args:
            yield site.node.args[0]


def range_end(site: Site) -> Iterator[Change]:
    """Stop a range or a slice one too early or too late, or start it one late."""
    if isinstance(site.node, ast.Call) and ast.unparse(site.node.func).endswith("range"):
        given = site.node.args
        at = min(1, len(given) - 1)
        for kind in (ast.Add(), ast.Sub()):
            end = ast.BinOp(given[at], kind, ast.Constant(1))
            yield changed(site.node, args=with_item(given, at, end))
        if len(given) == 1:
            yield changed(site.node, args=[ast.Constant(1), *given])
    elif isinstance(site.node, ast.Slice) and not isinstance(site.node.upper, ast.Constant | None):
        for kind in (ast.Add(), ast.Sub()):
            yield changed(site.node, upper=ast.BinOp(site.node.upper, kind, ast.Constant(1)))


def wrong_parameter(site: Site) -> Iterator[Change]:
    """Read another parameter of the same kind: a stride for a stride, a width for a width."""
    if not isinstance(site.node, ast.Name) or not isinstance(site.node.ctx, ast.Load):
        return
    kinds = {parameter.arg: _kind(parameter) for parameter in site.parameters}
    if site.node.id in kinds:
        alike = [name for name, kind in kinds.items() if kind == kinds[site.node.id]]
        other = alike[(alike.index(site.node.id) + 1) % len(alike)]
        if other != site.node.id:
            yield ast.Name(other, ast.Load())


def ignored_parameter(site: Site) -> Iterator[Change]:
    """Work with a parameter's default, or a usual value, whatever the caller says."""
    if not site.is_first or site.is_kernel:
        return
    given = site.function.args
    ordered = [*given.posonlyargs, *given.args]
    defaults = dict(zip([p.arg for p in ordered][::-1], given.defaults[::-1], strict=False))
    for parameter in site.parameters:
        kind = ast.unparse(parameter.annotation) if parameter.annotation else ""
        values = list(_USUAL.get(kind, ())) + ["None"] * ("None" in kind)
        if parameter.arg in defaults:
            values.append(ast.unparse(defaults[parameter.arg]))
        for value in dict.fromkeys(values):
            yield Before(f"{parameter.arg} = {value}")


def _kind(parameter: ast.arg) -> str:
    """Say what a parameter is: by its annotation, in kernels also by the first part of its name."""
    said = ast.unparse(parameter.annotation) if parameter.annotation else ""
    if said and "constexpr" not in said:
        return said
    if parameter.arg.endswith("_ptr"):
        return "a tensor"
    return parameter.arg.split("_")[0] if "_" in parameter.arg else "a number"


CALL_RULES = [
    Rule(strike.__name__.replace("_", " "), strike)
    for strike in (
        argument_order,
        tuple_order,
        keyword,
        skipped_call,
        range_end,
        wrong_parameter,
        ignored_parameter,
    )
]
