"""The rules that fit any Python: comparisons, numbers, operators, conditions, statements, calls."""

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

_COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
_LAST_AXIS = {"topk", "sort", "argsort", "kthvalue", "median", "mode"}
_AXIS_FIRST = {
    *("gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "index_add", "index_select"),
    *("unflatten", "unsqueeze", "squeeze", "softmax", "log_softmax", "cumsum", "sum", "mean"),
}
_SYMMETRIC = {"min", "max", "minimum", "maximum", "transpose", "logical_and", "logical_or"}
_USUAL = {"int": ("1", "2"), "float": ("1.0",), "bool": ("True", "False")}


def comparison(site: Site) -> Iterator[Change]:
    """Let a border in or out, or ask for the opposite."""
    if isinstance(site.node, ast.Compare):
        for at, kind in enumerate(site.node.ops):
            if type(kind) in _COMPARED:
                ops = with_item(site.node.ops, at, _COMPARED[type(kind)]())
                yield changed(site.node, ops=ops)


def constant(site: Site) -> Iterator[Change]:
    """Take another number, the other truth, a word that nobody knows, a finite infinity."""
    value = site.node.value if isinstance(site.node, ast.Constant) else None
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)
    elif isinstance(value, str) and not isinstance(site.parent, ast.Expr):
        yield ast.Constant(value + "?")
    elif isinstance(site.node, ast.Attribute) and site.node.attr == "inf":
        yield ast.Constant(10.0)


def operator(site: Site) -> Iterator[Change]:
    """Compute with the operator's neighbour."""
    if isinstance(site.node, ast.BinOp | ast.AugAssign) and type(site.node.op) in _COMPUTED:
        yield changed(site.node, op=_COMPUTED[type(site.node.op)]())


def operands(site: Site) -> Iterator[Change]:
    """Exchange the two sides where the order counts."""
    if isinstance(site.node, ast.BinOp) and isinstance(site.node.op, _ORDERED):
        yield changed(site.node, left=site.node.right, right=site.node.left)


def half(site: Site) -> Iterator[Change]:
    """Keep one side of a sum, a product or a condition made of two."""
    if isinstance(site.node, ast.BinOp):
        yield site.node.left
        yield site.node.right
    elif isinstance(site.node, ast.BoolOp):
        yield from site.node.values


def sign(site: Site) -> Iterator[Change]:
    """Forget a minus, a `not` or a `~`, but not that of an axis: of two, -1 and 1 are one."""
    is_axis = isinstance(site.parent, ast.keyword) and site.parent.arg in ("dim", "axis")
    is_axis |= method_name(site.parent) in _AXIS_FIRST and site.parent.args[:1] == [site.node]
    if isinstance(site.node, ast.UnaryOp) and not is_axis:
        yield site.node.operand


def logic(site: Site) -> Iterator[Change]:
    """Say `or` for `and`."""
    if isinstance(site.node, ast.BoolOp):
        other = ast.Or() if isinstance(site.node.op, ast.And) else ast.And()
        yield changed(site.node, op=other)


def condition(site: Site) -> Iterator[Change]:
    """Turn a condition round, or let it hold always or never."""
    is_test = getattr(site.parent, "test", None) is site.node
    if is_test or (isinstance(site.parent, ast.comprehension) and site.node in site.parent.ifs):
        yield ast.UnaryOp(ast.Not(), site.node)
        yield ast.Constant(False)
        if not isinstance(site.parent, ast.While):
            yield ast.Constant(True)


def dropped_line(site: Site) -> Iterator[Change]:
    """Leave a statement out."""
    if isinstance(site.node, ast.stmt) and not isinstance(site.node, ast.Pass | ast.FunctionDef):
        yield ast.Pass()


def jump(site: Site) -> Iterator[Change]:
    """Leave a loop where it should go on, or the other way round."""
    if isinstance(site.node, ast.Break):
        yield ast.Continue()
    elif isinstance(site.node, ast.Continue):
        yield ast.Break()


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


PLAIN_RULES = [
    Rule(strike.__name__.replace("_", " "), strike)
    for strike in (
        comparison,
        constant,
        operator,
        operands,
        half,
        sign,
        logic,
        condition,
        dropped_line,
        jump,
        argument_order,
        tuple_order,
        keyword,
        skipped_call,
        range_end,
        wrong_parameter,
        ignored_parameter,
    )
]
